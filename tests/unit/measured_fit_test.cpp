#include <algorithm>
#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/compute/operator_rates.h"
#include "calibrate/fit/fit.h"
#include "calibrate/fit/rate_fit.h"
#include "models/error.h"
#include "sim/assess/calibration_check.h"
#include "sim/job/link_figures.h"
#include "sim/job/network_figures.h"
#include "sim/job/resolve.h"
#include "tests/support/broken_input.h"

namespace vitsim {
namespace {

// A rank's own steps as `calibrate measure` records them: forward f, backward 2 f for each sample.
void add_steps(Measurement& measurement,
               const std::string& name,
               std::int64_t micro_batch,
               double forward_s,
               const std::string& unit = "a:0",
               bool disturbed = false,
               const VitSpec& model = *vit_variant("vit-ti-16"),
               Precision precision = Precision::kFp32,
               double optimizer_s = 0.02) {
  RecordedRun run{.name = name,
                  .one_node = true,
                  .gpus = {"cpu-a"},
                  .model = model,
                  .precision = precision,
                  .gradient_sync = GradientSync::kDeepspeedZero0,
                  .micro_batch = {micro_batch},
                  .epochs = 1};
  const auto put = [&](Series series) {
    measurement.samples.push_back(
        {.series = std::move(series), .run = name, .warm_up = 2, .disturbed = disturbed});
  };
  const auto add = [&](StepPart part, double seconds) {
    put(PhaseSeries{.part = part, .unit = unit, .seconds = std::vector<double>(10, seconds)});
  };
  const double batch = static_cast<double>(micro_batch);
  add(StepPart::kDataLoad, 0.001 * batch);
  add(StepPart::kForward, forward_s * batch);
  add(StepPart::kBackward, 2 * forward_s * batch);
  add(StepPart::kGradientAllReduce, 0.004);
  add(StepPart::kOptimizer, optimizer_s);
  const double step_s = 0.001 * batch + 3 * forward_s * batch + 0.004 + optimizer_s;
  put(StepSeries{.unit = unit, .seconds = std::vector<double>(10, step_s)});
  measurement.runs.push_back(run);
}

void add_all_reduce(Measurement& measurement, double bytes, double seconds, bool one_node) {
  measurement.samples.push_back(
      {.series = CollectiveSeries{.bytes = static_cast<std::int64_t>(bytes),
                                  .ranks = 2,
                                  .one_node = one_node,
                                  .link = "net",
                                  .seconds = std::vector<double>(8, seconds)}});
}

void add_pair(Measurement& measurement,
              const std::string& from,
              const std::string& to,
              double latency_s,
              double bytes_per_s) {
  for (const double bytes : {64.0, 16.0 * 1024 * 1024}) {
    measurement.samples.push_back(
        {.series = PointToPointSeries{
             .bytes = static_cast<std::int64_t>(bytes),
             .link = "net",
             .from = from,
             .to = to,
             .one_node = false,
             .seconds = std::vector<double>(8, latency_s + (bytes - 64) / bytes_per_s)}});
  }
}

TEST(MeasuredFit, PhasesGoIntoTheProfileAsTheyWereMeasured) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "two", 2, 0.1);
  add_steps(measurement, "four", 4, 0.1);
  const Calibration calibration = fit(measurement, {});
  const GpuProfile& profile = calibration.gpus.at("cpu-a");
  ASSERT_EQ(profile.steps.size(), 1);
  ASSERT_EQ(profile.steps[0].points.size(), 2);
  const StepPoint& four = profile.steps[0].points[1];
  EXPECT_EQ(four.micro_batch, 4);
  EXPECT_NEAR(four.forward.value(), 0.4, 1e-6);
  EXPECT_NEAR(four.backward.value(), 0.8, 1e-6);
  EXPECT_NEAR(four.optimizer.value(), 0.02, 1e-9);
  EXPECT_NEAR(four.other.value(), 0.004, 1e-9);
  EXPECT_NEAR(four.data_load.value(), 0.004, 1e-9);
  // What loading takes per step is not a price of an epoch's start.
  EXPECT_EQ(profile.epoch_start.value(), 0);
}

TEST(MeasuredFit, RatesAreOfTheTrainerThatWasMeasured) {
  // The same seconds, of a trainer that takes query, key and value apart by select and of one that
  // unbinds them: the profile says which, and its predictions count that trainer's operators.
  for (const QkvSplit split : {QkvSplit::kSelect, QkvSplit::kUnbind}) {
    Measurement measurement{.device = "cpu-a"};
    add_steps(measurement, "two", 2, 0.1);
    add_steps(measurement, "four", 4, 0.1);
    for (RecordedRun& run : measurement.runs) {
      run.qkv_split = split;
    }
    const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
    ASSERT_EQ(profile.rates.size(), 1U);
    EXPECT_EQ(profile.rates[0].qkv_split, split);
    const auto fills = std::ranges::count(
        pass_operators(profile.rates[0], *vit_variant("vit-ti-16"), Pass::kBackward),
        std::string_view("select_zeros"),
        &Operator::name);
    EXPECT_EQ(fills, split == QkvSplit::kSelect ? 1 : 0);
  }
}

// Every model that a file writes out is called "custom".
VitSpec written_out(std::int64_t layers, std::int64_t width, std::int64_t heads) {
  return {.layers = layers,
          .width = width,
          .heads = heads,
          .mlp = 4 * width,
          .patch = 8,
          .image_size = 64,
          .classes = 100};
}

const StepCurve* curve_of(const GpuProfile& profile, const VitSpec& model) {
  for (const StepCurve& curve : profile.steps) {
    if (same_architecture(curve.model, model)) {
      return &curve;
    }
  }
  return nullptr;
}

// Each model, whatever it is called, has a curve of its own, in the profile's file too.
TEST(MeasuredFit, ModelsOfOneNameAreToldApartByTheirArchitecture) {
  const std::vector<VitSpec> models = {
      written_out(4, 128, 4), written_out(12, 512, 8), written_out(12, 512, 4)};
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "small", 16, 0.010 / 16, "a:0", false, models[0]);
  add_steps(measurement, "big", 16, 0.200 / 16, "a:0", false, models[1]);
  add_steps(measurement, "wide heads", 16, 0.180 / 16, "a:0", false, models[2]);
  const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
  const Part part = part_from_text(profile_text(profile), "cpu-a.json");
  const auto& back = std::get<GpuProfile>(part);
  ASSERT_EQ(back.steps.size(), 3U);
  const std::vector<double> forward_s = {0.010, 0.200, 0.180};
  for (std::size_t i = 0; i < models.size(); ++i) {
    const StepCurve* curve = curve_of(back, models[i]);
    ASSERT_NE(curve, nullptr) << i;
    ASSERT_EQ(curve->points.size(), 1U) << i;
    EXPECT_NEAR(curve->points[0].forward.value(), forward_s[i], 1e-6) << i;
    EXPECT_NEAR(curve->points[0].backward.value(), 2 * forward_s[i], 1e-6) << i;
  }
}

TEST(MeasuredFit, OneArchitectureOfTwoNamesIsOneCurve) {
  VitSpec deit = *vit_variant("vit-ti-16");
  for (const char* name : {"deit-ti-16", "custom"}) {
    deit.name = name;
    for (const bool other_first : {true, false}) {
      Measurement measurement{.device = "cpu-a"};
      add_steps(
          measurement, "one", 2, 0.1, "a:0", false, other_first ? deit : *vit_variant("vit-ti-16"));
      add_steps(
          measurement, "two", 4, 0.1, "a:0", false, other_first ? *vit_variant("vit-ti-16") : deit);
      const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
      ASSERT_EQ(profile.steps.size(), 1U) << name;
      EXPECT_EQ(profile.steps[0].points.size(), 2U) << name;
      EXPECT_EQ(profile.steps[0].model.name, "vit-ti-16") << name;
    }
  }
}

// Two models that differ in their MLPs alone: each is predicted by the other.
TEST(MeasuredFit, LeavesOutOneMlpAndKeepsTheOther) {
  Measurement measurement;
  for (const std::int64_t mlp : {512, 1024}) {
    measurement.samples.push_back(
        {.series = PassSeries{.kind = PassSeries::Kind::kForward,
                              .gpu = "card",
                              .model = {.layers = 4, .width = 256, .heads = 4, .mlp = mlp},
                              .batch = 8,
                              .seconds = {0.1 + static_cast<double>(mlp) / 1e4}}});
  }
  EXPECT_EQ(leave_models_out(measurement, {}).size(), 2U);
}

// A model that no file tells stands with the default's figures: nothing of it is fitted, lest it
// were served as what it is not.
TEST(MeasuredFit, AnUnknownModelIsNoOtherModel) {
  VitSpec unknown;
  unknown.name = kUnknown;
  ASSERT_TRUE(same_architecture(unknown, *vit_variant("vit-b-16")));
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "nobody knows", 2, 0.1, "a:0", false, unknown);
  EXPECT_THAT(test::refusal([&] { fit(measurement, {}); }),
              ::testing::HasSubstr("\"nobody knows\": its model is not known: give --model"));
  add_steps(measurement, "base", 2, 0.5, "a:0", false, *vit_variant("vit-b-16"));
  const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
  ASSERT_EQ(profile.steps.size(), 1U);
  EXPECT_NEAR(profile.steps[0].points.at(0).forward.value(), 1.0, 1e-6);
}

TEST(MeasuredFit, RunsWithoutAMicroBatchAreNamed) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "two", 2, 0.1);
  measurement.runs.front().micro_batch.clear();
  EXPECT_THAT(test::refusal([&] { fit(measurement, {}); }),
              ::testing::HasSubstr("give --micro-batch"));
  EXPECT_THAT(test::refusal([&] { check_calibration(measurement, {}); }),
              ::testing::HasSubstr("give --micro-batch"));
  measurement.runs.front().micro_batch = {1, 2, 3};
  EXPECT_THAT(test::refusal([&] { fit(measurement, {}); }),
              ::testing::HasSubstr("3 micro-batches for 1 GPUs"));
}

// Figures of ranks that the run does not have are of no GPU.
TEST(MeasuredFit, RanksBeyondTheRunsAreLeftOut) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "two", 2, 0.1);
  measurement.samples.push_back(
      {.series = PhaseSeries{.rank = 7, .seconds = {1, 1}}, .run = "two"});
  measurement.samples.push_back({.series = MemoryReading{.rank = 7, .bytes = {1e9}}, .run = "two"});
  EXPECT_NO_THROW(fit(measurement, {}));
  EXPECT_NO_THROW(check_calibration(measurement, {}));
}

// Epochs without the number of samples say nothing of steps.
TEST(MeasuredFit, EpochsOfUnknownSamplesAreNotPredictable) {
  Measurement measurement{.device = "cpu-a"};
  for (const char* name : {"a", "b"}) {
    add_steps(measurement, name, 2, 0.1);
    measurement.samples.push_back({.series = EpochSeries{.seconds = {10, 10}}, .run = name});
  }
  std::erase_if(measurement.samples,
                [](const Sample& sample) { return sample.as<StepSeries>() != nullptr; });
  const CalibrationCheck check = check_calibration(measurement, {});
  ASSERT_EQ(check.runs.size(), 2U);
  EXPECT_THAT(check.runs[0].unpredictable, ::testing::HasSubstr("give --samples"));
}

// 12 layers of launches at 5 us alone take longer than these passes: no arithmetic is slow enough
// to be seen, and its speed must stay a number that a profile can hold.
TEST(MeasuredFit, StaysFiniteWhereArithmeticDoesNotShow) {
  Measurement measurement;
  for (const std::int64_t batch : {1, 2, 4, 8}) {
    add_steps(measurement, "m" + std::to_string(batch), batch, 1e-6);
  }
  const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
  ASSERT_FALSE(profile.operators.empty());
  EXPECT_NO_THROW(part_from_text(profile_text(profile), "cpu-a.json"));
}

// 28 bytes for each parameter in 20 ms in fp32 and in 40 ms in fp16, whichever has more points.
TEST(MeasuredFit, UpdatesAreFittedInEachPrecision) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "single", 2, 0.1);
  for (const std::int64_t batch : {2, 4, 8}) {
    add_steps(measurement,
              "half-" + std::to_string(batch),
              batch,
              0.05,
              "a:0",
              false,
              *vit_variant("vit-ti-16"),
              Precision::kFp16,
              0.04);
  }
  const GpuProfile profile = fit(measurement, {}).gpus.at("cpu-a");
  std::map<Precision, std::vector<double>> rates;
  for (const OperatorCurve& curve : profile.operators) {
    if (curve.kind == "optimizer") {
      rates[curve.precision].push_back(curve.bytes_per_s.value());
    }
  }
  const double bytes = 28.0 * static_cast<double>(parameter_count(*vit_variant("vit-ti-16")));
  ASSERT_EQ(rates.size(), 2U);
  ASSERT_EQ(rates[Precision::kFp32].size(), 1U);
  ASSERT_EQ(rates[Precision::kFp16].size(), 1U);
  EXPECT_NEAR(rates[Precision::kFp32][0], bytes / 0.02, 1e-6 * bytes / 0.02);
  EXPECT_NEAR(rates[Precision::kFp16][0], bytes / 0.04, 1e-6 * bytes / 0.04);
}

TEST(MeasuredFit, TwoVisitsThatDifferAreTheSpreadOfARun) {
  Measurement measurement{.device = "cpu-a"};
  for (const std::int64_t batch : {1, 2, 4, 8}) {
    add_steps(measurement, "first " + std::to_string(batch), batch, 0.10);
    add_steps(measurement, "second " + std::to_string(batch), batch, 0.104);
  }
  const Calibration calibration = fit(measurement, {});
  // One visit predicted by the other is off by ln(1.04) = 3.9 % of compute.
  EXPECT_NEAR(calibration.gpus.at("cpu-a").spread.run_sigma.value(), 0.039, 0.008);
}

TEST(MeasuredFit, EqualDevicesThatDifferAreTheSpreadOfUnits) {
  Measurement measurement{.device = "cpu-a"};
  for (const std::int64_t batch : {1, 2, 4}) {
    add_steps(measurement, "slow " + std::to_string(batch), batch, 0.11, "a:0");
    add_steps(measurement, "fast " + std::to_string(batch), batch, 0.10, "b:1");
  }
  const Calibration calibration = fit(measurement, {});
  // Two units that differ by ln(1.1): a standard deviation of ln(1.1) / sqrt(2) = 6.7 %.
  EXPECT_NEAR(
      calibration.gpus.at("cpu-a").spread.unit_sigma.value(), std::log(1.1) / std::sqrt(2.0), 1e-6);
}

TEST(MeasuredFit, OtherModelsOnEqualDevicesAreNoSpreadOfUnits) {
  Measurement measurement{.device = "cpu-a"};
  for (const std::int64_t batch : {1, 2, 4}) {
    const std::string name = std::to_string(batch);
    add_steps(measurement, "small " + name, batch, 0.01, "a:0", false, written_out(4, 128, 4));
    add_steps(measurement, "big " + name, batch, 0.20, "b:1", false, written_out(12, 512, 8));
  }
  // No two units ran the same: nothing is known of how they differ.
  EXPECT_EQ(fit(measurement, {}).gpus.at("cpu-a").spread.unit_sigma, std::nullopt);
}

TEST(MeasuredFit, DisturbedStepsCountOnlyWhereThereAreNoOthers) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "busy", 2, 0.2, "a:0", true);
  EXPECT_NEAR(fit(measurement, {}).gpus.at("cpu-a").steps[0].points[0].forward.value(), 0.4, 1e-6);
}

TEST(MeasuredFit, BackwardBesideCommunicationBackwardAlone) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "two", 2, 0.1);
  using State = OverlapSeries::State;
  for (const auto& [state, seconds] : {std::pair(State::kAlone, 0.2), {State::kBeside, 0.25}}) {
    measurement.samples.push_back(
        {.series = OverlapSeries{.gpu = "cpu-a",
                                 .state = state,
                                 .ranks = 2,
                                 .seconds = std::vector<double>(3, seconds)}});
  }
  EXPECT_NEAR(fit(measurement, {}).gpus.at("cpu-a").overlap_slowdown, 1.25, 1e-12);
}

TEST(MeasuredFit, ALinkInsideAMachineIsOneHop) {
  // Two ranks, two ring steps of half the bytes: 2 (latency + bytes / 2 / bandwidth) with 1 ms and
  // 100 MB/s. Inside a machine the path is one link; between machines two, each with half of the
  // latency.
  for (const bool one_node : {true, false}) {
    Measurement measurement{.device = "cpu-a"};
    for (double bytes = 4096; bytes < 1e8; bytes *= 4) {
      add_all_reduce(measurement, bytes, 2 * (1e-3 + bytes / 2 / 100e6), one_node);
    }
    const LinkProfile link = fit(measurement, {}).links.at("net");
    EXPECT_NEAR(link.bandwidth.value(), 100e6, 5e6);
    // Two ranks cannot tell a call's overhead from latency; what a small AllReduce takes is sure.
    const double hops = one_node ? 1 : 2;
    EXPECT_NEAR(link.collective_overhead.value() + 2 * hops * link.at(Bytes(2048)).latency.value(),
                2e-3,
                1e-4);
    EXPECT_TRUE(link.spread.run_sigma.has_value());
  }
}

// Two GPUs of a node that names no inner path go over the one they were measured with: a file's own
// word comes first, and GPUs measured over several paths have none.
TEST(MeasuredFit, ANodesPathGoesWithItsGpus) {
  Measurement measurement{.device = "cpu-a"};
  add_steps(measurement, "two", 2, 0.1);
  for (double bytes = 4096; bytes < 1e8; bytes *= 4) {
    add_all_reduce(measurement, bytes, 2 * (1e-3 + bytes / 2 / 100e6), /*one_node=*/true);
    measurement.samples.back().as<CollectiveSeries>()->gpu = "cpu-a";
  }
  const Calibration calibration = fit(measurement, {});
  EXPECT_EQ(calibration.gpus.at("cpu-a").intra_node, "net");

  ProfileSet profiles{.gpus = calibration.gpus, .links = calibration.links};
  Experiment experiment;
  experiment.cluster.nodes = {{.name = "n", .gpus = {{.model = "cpu-a"}, {.model = "cpu-a"}}}};
  experiment.training.model = *vit_variant("vit-ti-16");
  experiment.training.dataset.samples = 100;
  experiment.training.micro_batch = {2};
  const auto bandwidth = [&] {
    ClusterSpec cluster = experiment.cluster;
    add_paths_inside_nodes(cluster, profiles);
    return network_data(cluster, profiles).nodes.front().intra_node.bandwidth.value();
  };
  EXPECT_NEAR(bandwidth(), 100e6, 5e6);
  EXPECT_TRUE(resolve(experiment, profiles).jobs.front().warnings.empty());

  experiment.cluster.intra_node = LinkSpec{.bandwidth = BytesPerSecond(7e9)};
  EXPECT_EQ(bandwidth(), 7e9);
  experiment.cluster.intra_node.reset();

  profiles.gpus["cpu-b"] = profiles.gpus["cpu-a"];
  profiles.gpus["cpu-b"].intra_node = "another";
  experiment.cluster.nodes.front().gpus.back().model = "cpu-b";
  EXPECT_EQ(bandwidth(), kPcie3Bandwidth.value());
}

TEST(MeasuredFit, PairsTellWhichNicIsSlow) {
  Measurement measurement{.device = "a, b, c"};
  // a and b have 100 MB/s and 50 us, c has 25 MB/s and 250 us.
  add_pair(measurement, "a", "b", 100e-6, 100e6);
  add_pair(measurement, "a", "c", 300e-6, 25e6);
  add_pair(measurement, "b", "c", 300e-6, 25e6);
  const Calibration calibration = fit(measurement, {});
  EXPECT_NEAR(calibration.links.at("net-a").bandwidth.value(), 100e6, 1e3);
  EXPECT_NEAR(calibration.links.at("net-b").bandwidth.value(), 100e6, 1e3);
  EXPECT_NEAR(calibration.links.at("net-c").bandwidth.value(), 25e6, 1e3);
  EXPECT_NEAR(calibration.links.at("net-a").latency.value(), 50e-6, 1e-9);
  EXPECT_NEAR(calibration.links.at("net-c").latency.value(), 250e-6, 1e-9);
}

}  // namespace
}  // namespace vitsim
