#include "sim/run/checkpoints.h"

#include <algorithm>
#include <tuple>

#include <gtest/gtest.h>

#include "calibrate/profile/lookup.h"
#include "models/vit/memory.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"
#include "sim/run/failure_timeline.h"

namespace vitsim {
namespace {

ResolvedExperiment resolved_file(const std::string& name, const std::vector<Override>& changes) {
  const Experiment experiment =
      read_experiment(std::filesystem::path(VITSIM_SOURCE_DIR "/configs/cluster") / name, changes);
  return resolve(experiment, load_profiles(experiment, ProfileLibrary()));
}

constexpr const char* kOftenPerGpu = R"({"mean_time_between": "80h", "restart": "5min"})";
constexpr const char* kOftenPerNode =
    R"({"mean_time_between": "80h", "per": "node", "restart": "5min"})";

// Eight GPUs in one node, or the node itself.
TEST(Checkpoints, PartsFailAsOftenAsThereAreOfThem) {
  const auto by_gpu = resolved_file("t4-node-of-8.json", {{"failures", kOftenPerGpu}});
  EXPECT_DOUBLE_EQ(mean_time_between_failures(by_gpu.jobs[0], by_gpu.experiment.failures)->value(),
                   36'000);
  const auto by_node = resolved_file("t4-node-of-8.json", {{"failures", kOftenPerNode}});
  EXPECT_DOUBLE_EQ(
      mean_time_between_failures(by_node.jobs[0], by_node.experiment.failures)->value(), 288'000);
  EXPECT_FALSE(mean_time_between_failures(by_node.jobs[0], std::nullopt));
}

// 313 steps an epoch, 10 epochs.
TEST(Checkpoints, ComeAtEpochsAfterStepsOrAfterATime) {
  const auto plan = [](const char* checkpoint) {
    const auto file = resolved_file("tesla-5gpu.json", {{"training.checkpoint", checkpoint}});
    return checkpoint_plan(file.jobs[0], std::nullopt, Seconds(2), Seconds(626), 1);
  };
  EXPECT_EQ(plan(R"({"cost": "3s"})").steps, 313);
  EXPECT_DOUBLE_EQ(plan(R"({"cost": "3s"})").added().value(), 30);
  EXPECT_EQ(plan(R"({"every": 100, "cost": "3s"})").count, 31);
  EXPECT_EQ(plan(R"({"every": "2min", "cost": "3s"})").steps, 60);
  EXPECT_DOUBLE_EQ(plan(R"({"cost": "3s", "asynchronous": true})").added().value(), 0);
  // Where nothing fails, one at the end loses least.
  EXPECT_EQ(plan(R"({"every": "auto", "cost": "3s"})").count, 1);
  // 12 bytes a parameter by the storage's rate.
  const auto file =
      resolved_file("tesla-5gpu.json", {{"training.checkpoint", R"({"bandwidth": "100MB/s"})"}});
  EXPECT_DOUBLE_EQ(checkpoint_cost(file.jobs[0].training).value(),
                   checkpoint_bytes(file.jobs[0].training).value() / 100e6);
}

// Without the slowest of five GPUs, whose samples the others take over, a step is shorter: it had
// held up the others. Without any of two equal ones it is longer.
TEST(Checkpoints, SpeedWithoutWhatFailed) {
  const auto tesla = resolved_file("tesla-5gpu.json", {});
  const ElasticSpeed five(tesla.jobs[0], FailureUnit::kGpu, 1);
  EXPECT_EQ(five.parts(), 5);
  EXPECT_GT(five(0, 1), 1);
  const auto pair = resolved_file("tesla-2gpu.json", {});
  const ElasticSpeed two(pair.jobs[0], FailureUnit::kGpu, 1);
  EXPECT_LT(two(0, 1), 1);
  EXPECT_GT(two(0, 1), 0.5);  // the collectives are still there, the compute doubles
}

// A predicted run with failures: what is lost, paid and trained adds up, and the expected share is
// Daly's closed form within sampling error.
TEST(Checkpoints, GoodputOfAPredictionIsTheClosedForm) {
  const auto file =
      resolved_file("tesla-5gpu.json",
                    {{"training.epochs", "300"},
                     {"failures", R"({"mean_time_between": "50h", "restart": "10min"})"},
                     {"training.checkpoint", R"({"every": 300, "cost": "60s"})"}});
  const Report report = predict(file, {.replicates = 400, .gains = false}).front();
  ASSERT_TRUE(report.goodput);
  const Goodput& goodput = *report.goodput;
  const FailingRun run{.work = Seconds(report.total_s.mean - 313 * 60.0),
                       .interval = Seconds(goodput.checkpoint_every_s),
                       .checkpoint = Seconds(60),
                       .mean_time_between = Seconds(10 * 3600),
                       .restart = Seconds(600),
                       .speed = {}};
  EXPECT_NEAR(goodput.effective_share, run.work / expected_run_time(run), 0.005);
  EXPECT_NEAR(goodput.failures, goodput.total_s.mean / (10 * 3600), 0.03 * goodput.failures);
  EXPECT_DOUBLE_EQ(report.cost->gpu_hours, 5 * goodput.total_s.mean / 3600);
}

// Steps of 10 s on one rank, a checkpoint of 2 s after every second one: steps at 0, 10, 22, 32 s.
// The rank fails at 35 s and is up at 40 s; what came after the checkpoint at 22 s comes again.
TEST(FailureTimeline, ShowsWhatIsLostAndMadeAgain) {
  std::vector<Span> spans;
  for (std::int64_t step = 0; step < 4; ++step) {
    spans.push_back({.rank = 3,
                     .step = step,
                     .begin_ns = step * 10'000'000'000,
                     .end_ns = (step + 1) * 10'000'000'000});
  }
  const CheckpointPlan checkpoints{.cost = Seconds(2), .steps = 2};
  add_failures(spans, checkpoints, {{.at = Seconds(35), .restart = Seconds(5)}}, Seconds(0));
  const auto seconds = [](std::int64_t nanoseconds) { return nanoseconds / 1'000'000'000; };
  using Row = std::tuple<Phase, std::int64_t, std::int64_t, std::int64_t>;
  std::vector<Row> seen;
  for (const Span& span : spans) {
    EXPECT_EQ(span.rank, 3);
    seen.emplace_back(span.phase, span.step, seconds(span.begin_ns), seconds(span.end_ns));
  }
  std::ranges::sort(seen, {}, [](const auto& span) { return std::get<2>(span); });
  const std::vector<Row> expected = {{Phase::kForward, 0, 0, 10},
                                     {Phase::kForward, 1, 10, 20},
                                     {Phase::kCheckpoint, 1, 20, 22},
                                     {Phase::kForward, 2, 22, 32},
                                     {Phase::kForward, 3, 32, 35},
                                     {Phase::kRestart, 2, 35, 40},
                                     {Phase::kForward, 2, 40, 50},
                                     {Phase::kForward, 3, 50, 60},
                                     {Phase::kCheckpoint, 3, 60, 62}};
  EXPECT_EQ(seen, expected);
}

}  // namespace
}  // namespace vitsim
