#include "sim/assess/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "tests/support/json_schema_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;

ValidationRecord record(const std::string& created, double predicted_s, double measured_s) {
  return {.created = created,
          .name = "lab",
          .kind = "run",
          .ranks = 2,
          .figure = "step",
          .predicted_s = predicted_s,
          .measured_s = measured_s,
          .inside = true,
          .slowest_named = true,
          .runs = 2,
          .disturbed = 1};
}

TEST(ValidationHistory, LinesAreAppendedAndReadBack) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "deep/history.jsonl";
  append_history(file, {record("2026-01-01T10:00:00Z", 1.1, 1.0)});
  append_history(file, {record("2026-01-02T10:00:00Z", 0.98, 1.0)});
  const auto records = read_history(file);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].name, "lab");
  EXPECT_NEAR(records[0].error(), 0.1, 1e-12);
  EXPECT_NEAR(records[1].error(), -0.02, 1e-12);
  EXPECT_EQ(records[1].inside, true);
}

TEST(ValidationHistory, LinesAreRightByTheSchema) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "history.jsonl";
  append_history(file, {record("2026-01-01T10:00:00Z", 1.1, 1.0)});
  const auto schema = nlohmann::json::parse(
      test::file_text(VITSIM_SOURCE_DIR "/configs/schemas/validation.schema.json"));
  const auto line = nlohmann::json::parse(test::file_text(file));
  EXPECT_THAT(test::schema_errors(schema, line), ::testing::IsEmpty());
  auto wrong = line;
  wrong.erase("measured_s");
  EXPECT_THAT(test::schema_errors(schema, wrong), ::testing::Not(::testing::IsEmpty()));
}

TEST(ValidationHistory, ALastLineThatIsCutIsLeftOutAndAWrongOneIsTold) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "history.jsonl";
  append_history(file, {record("2026-01-01T10:00:00Z", 1.1, 1.0)});
  const std::string line = test::file_text(file);
  folder.write("history.jsonl", line + line.substr(0, 40));
  EXPECT_EQ(read_history(file).size(), 1U);
  folder.write("history.jsonl", line + "{\"schema\":\"vitsim-validation/2\"}\n" + line);
  try {
    read_history(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("history.jsonl:2:"));
  }
}

TEST(ValidationHistory, TextGroupsByMinute) {
  // Of the first minute |+10 %| and |-4 %|: 7 % on average, the worst +10 %.
  const std::string text = history_text({record("2026-01-01T10:00:05Z", 1.10, 1.0),
                                         record("2026-01-01T10:00:50Z", 0.96, 1.0),
                                         record("2026-01-02T10:00:00Z", 1.01, 1.0)});
  EXPECT_THAT(text, HasSubstr("7.00 %"));
  EXPECT_THAT(text, HasSubstr("+10.00 %"));
  EXPECT_THAT(text, HasSubstr("2 of 4"));  // two of four runs were disturbed
  EXPECT_THAT(text, HasSubstr("1.00 %"));
}

TEST(SettledPart, StartsAtZeroBehindTheWarmUp) {
  Timeline measured{.name = "measured", .spans = {}};
  for (std::int64_t step = 0; step < 5; ++step) {
    measured.spans.push_back({.step = step,
                              .phase = Phase::kForward,
                              .begin_ns = 1000 + 100 * step,
                              .end_ns = 1050 + 100 * step,
                              .warm_up = step < 2});
  }
  measured.spans.push_back({.step = 3, .phase = Phase::kCheckpoint, .begin_ns = 0, .end_ns = 9});
  const Timeline part = settled_part(measured, 2);
  ASSERT_EQ(part.spans.size(), 2U);  // steps 2 and 3
  EXPECT_EQ(part.spans[0].begin_ns, 0);
  EXPECT_EQ(part.spans[0].step, 0);
  EXPECT_EQ(part.spans[1].end_ns, 150);
}

TEST(Validate, AStoppedRunIsJudgedByItsStep) {
  Report predicted;
  predicted.step_s = {.mean = 1, .p50 = 1};
  predicted.epoch_s = {.mean = 10, .p50 = 10};
  Report measured = predicted;
  measured.step_s.p50 = 1.25;
  EXPECT_EQ(validate("lab", predicted, measured, false).judged()->name, "epoch");
  const ValidatedRun run = validate("lab", predicted, measured, true);
  EXPECT_EQ(run.judged()->name, "step");
  EXPECT_NEAR(record_of(run, "run").error(), -0.2, 1e-12);  // 1 / 1.25 - 1
}

TEST(Validate, NamesDevicesThatTheProfileWasNotMeasuredOn) {
  const test::TemporaryFolder folder;
  write_profile(folder.path() / "cpu-lab.json",
                GpuProfile{.name = "cpu-lab", .device_name = "Xeon A"});
  write_profile(folder.path() / "nameless.json", GpuProfile{.name = "nameless"});
  const ProfileLibrary library({folder.path()});
  Report measured;
  measured.ranks = {{.rank = 0, .gpu = "cpu-lab", .device = "Xeon A"},
                    {.rank = 1, .gpu = "cpu-lab", .device = "Xeon A 2.5 GHz"},  // a variant
                    {.rank = 2, .gpu = "cpu-lab", .device = "Xeon B"},
                    {.rank = 3, .gpu = "cpu-lab", .device = "Xeon B"},  // told once
                    {.rank = 4, .gpu = "cpu-lab", .device = ""},        // an older run directory
                    {.rank = 5, .gpu = "nameless", .device = "Xeon B"},
                    {.rank = 6, .gpu = "no-profile", .device = "Xeon B"}};
  const auto warnings = foreign_devices(measured, library);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings.front(),
              HasSubstr("rank 2 trained on \"Xeon B\", but the profile \"cpu-lab\" was measured on "
                        "\"Xeon A\""));
}

// The logs of a run of two ranks, of which rank 1 is slower: it waits for nobody.
TEST(MeasuredReport, SplitsWaitingFromReducing) {
  Measurement measurement;
  measurement.runs = {{.name = "pair",
                       .cluster = "lan",
                       .gpus = {"fast", "slow"},
                       .micro_batch = {8},
                       .samples = 0}};
  const auto add = [&](StepPart part, std::int64_t rank, double seconds) {
    measurement.samples.push_back(
        {.series =
             PhaseSeries{.part = part, .rank = rank, .seconds = std::vector<double>(10, seconds)},
         .run = "pair"});
  };
  for (const std::int64_t rank : {0, 1}) {
    add(StepPart::kForward, rank, rank == 0 ? 0.1 : 0.2);
    add(StepPart::kBackward, rank, rank == 0 ? 0.2 : 0.4);
    add(StepPart::kGradientAllReduce, rank, rank == 0 ? 0.35 : 0.05);
    add(StepPart::kOptimizer, rank, 0.01);
  }
  const auto summaries = summarise(measurement);
  const Report report = measured_report(summaries.front(), measurement);
  // Rank 1: 0.2 + 0.4 + 0.05 + 0.01. Of rank 0's 0.35 s in the AllReduce 0.05 s are the wire's.
  EXPECT_NEAR(report.step_s.p50, 0.66, 1e-9);
  EXPECT_NEAR(report.phases.gradient_all_reduce_s, 0.05, 1e-9);
  EXPECT_NEAR(report.ranks[0].wait_s, 0.30, 1e-9);
  EXPECT_EQ(report.ranks[1].late_share, 1);
}

}  // namespace
}  // namespace vitsim
