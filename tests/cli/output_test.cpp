#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/json_schema_support.h"
#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";
const std::string kDataSheet = VITSIM_SOURCE_DIR "/configs/cluster/h200-node-of-8.json";

nlohmann::json schema_of_reports() {
  return nlohmann::json::parse(file_text(VITSIM_SOURCE_DIR "/configs/schemas/report.schema.json"));
}

TEST(Output, JsonOnStandardOutputIsTheReportAlone) {
  const ProgramRun run = run_vitsim({"predict", kTesla, "--json", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.errors, IsEmpty());
  const nlohmann::json report = nlohmann::json::parse(run.output);
  EXPECT_THAT(schema_errors(schema_of_reports(), report), IsEmpty());
  // 25,000 samples on 5 ranks are 5,000 each, in ceil(5,000 / 16) = 313 steps.
  EXPECT_EQ(report["prediction"]["steps_per_epoch"], 313);
  EXPECT_EQ(report["prediction"]["ranks"].size(), 5U);
}

TEST(Output, TheClusterMayComeFromStandardInput) {
  const ProgramRun piped = run_program(
      {"sh", "-c", fmt::format("'{}' predict - < '{}'", VITSIM_BINARY_DIR "/vitsim", kTesla)});
  ASSERT_EQ(piped.exit_code, 0) << piped.errors;
  EXPECT_EQ(piped.output, run_vitsim({"predict", kTesla}).output);
}

TEST(Output, TheTimelineOnStandardOutputIsAlone) {
  const ProgramRun run = run_vitsim({"predict", kTesla, "--trace", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(nlohmann::json::parse(run.output).contains("traceEvents"));
  const ProgramRun both = run_vitsim({"predict", kTesla, "--trace", "-", "--json", "-"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.errors, HasSubstr("would mix on standard output"));
}

// Two configurations in three parts: the last has none, and the parts still make the whole.
TEST(Output, AnEmptyShardIsAnEmptyShard) {
  const TemporaryFolder folder;
  std::vector<std::string> merge = {"sweep", "--csv", "-", "--merge"};
  for (const std::string part : {"1", "2", "3"}) {
    const std::string file = (folder.path() / (part + ".json")).string();
    const ProgramRun run = run_vitsim({"sweep",
                                       kTesla,
                                       "--vary",
                                       "training.epochs=1,2",
                                       "--replicates",
                                       "3",
                                       "--shard",
                                       part + "/3",
                                       "--json",
                                       file});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_EQ(run.output.find("shard is empty") != std::string::npos, part == "3");
    merge.push_back(file);
  }
  const ProgramRun whole = run_vitsim(merge);
  ASSERT_EQ(whole.exit_code, 0) << whole.errors;
  EXPECT_EQ(std::ranges::count(whole.output, '\n'), 3);  // header and two rows
}

TEST(Output, ACardThatWasMeasuredSickSaysSo) {
  EXPECT_THAT(run_vitsim({"predict", kTesla}).output, HasSubstr("a sound card is likely"));
}

// On 16 nodes the ring's 30 steps wait 5 ms each; a binary tree over 16 is at most 5 deep.
TEST(Output, ScaleSaysWhenTheRingsLatencyRules) {
  const std::string nodes = R"([{"name": "n", "count": 16, "gpus": ["tesla-t4"]}])";
  const std::string network = R"({"bandwidth": "100Gbps", "latency": "5ms"})";
  const auto scale = [&](const std::string& algorithm) {
    const ProgramRun run = run_vitsim({"scale",
                                       VITSIM_SOURCE_DIR "/configs/cluster/t4-4gpu.json",
                                       "--gpus",
                                       "16",
                                       "--replicates",
                                       "3",
                                       "--set",
                                       "training.all_reduce=" + algorithm,
                                       "--set",
                                       "cluster.nodes=" + nodes,
                                       "--set",
                                       "cluster.network=" + network});
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    return run.output;
  };
  EXPECT_THAT(scale("ring"), HasSubstr("The ring's latency rules"));
  EXPECT_THAT(scale("ring"), HasSubstr("they would take"));
  EXPECT_THAT(scale("tree"), ::testing::Not(HasSubstr("latency rules")));
}

TEST(Output, TwoFormsOfASweepDoNotShareStandardOutput) {
  const ProgramRun run =
      run_vitsim({"sweep", kTesla, "--vary", "training.epochs=1,2", "--json", "-", "--csv", "-"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.output, IsEmpty());
  EXPECT_THAT(run.errors, HasSubstr("name a file for one of them"));
}

TEST(Output, SetChangesWhatIsPredicted) {
  const ProgramRun run = run_vitsim({"predict",
                                     kTesla,
                                     "--json",
                                     "-",
                                     "--set",
                                     "training.dataset.fraction=0.1",
                                     "--set",
                                     "cluster.nodes.1.count=4"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const nlohmann::json report = nlohmann::json::parse(run.output);
  // 5,000 samples on 7 ranks: 715 each with the padding, ceil(715 / 16) = 45 steps.
  EXPECT_EQ(report["prediction"]["steps_per_epoch"], 45);
  EXPECT_EQ(report["prediction"]["ranks"].size(), 7U);
}

TEST(Output, IsTheSameOnAnyNumberOfThreadsAndChangesWithTheSeed) {
  const auto predict = [](const std::string& threads, const std::string& seed) {
    const ProgramRun run =
        run_vitsim({"predict", kTesla, "--json", "-", "--threads", threads, "--seed", seed});
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    return run.output;
  };
  const std::string one = predict("1", "7");
  EXPECT_EQ(one, predict("4", "7"));
  EXPECT_NE(one, predict("1", "8"));
  const auto scale = [](const std::string& threads) {
    const ProgramRun run =
        run_vitsim({"scale", kTesla, "--gpus", "1,2,3,5", "--json", "-", "--threads", threads});
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    return run.output;
  };
  EXPECT_EQ(scale("1"), scale("4"));
}

TEST(Output, WhatIsNotCalibratedStandsInTheFirstLines) {
  ProgramRun run = run_vitsim({"predict", kDataSheet});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, StartsWith("Note: "));
  EXPECT_THAT(run.output.substr(0, 400), HasSubstr("data sheet"));
  // bf16 on the Tesla cluster was never measured, nor micro-batch 512.
  run = run_vitsim({"predict", kTesla, "--set", "training.precision=bf16"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, StartsWith("Note: "));
  run = run_vitsim({"predict", kTesla, "--set", "training.micro_batch_per_gpu=512"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, StartsWith("Note: "));
  // The file itself is calibrated throughout.
  run = run_vitsim({"predict", kTesla});
  EXPECT_THAT(run.output, StartsWith("vit-b-16 "));
}

TEST(Output, FilesAreWhole) {
  const TemporaryFolder folder;
  const auto json = folder.path() / "report.json";
  const auto trace = folder.path() / "trace.json";
  const ProgramRun run = run_vitsim({"predict",
                                     kTesla,
                                     "--json",
                                     json.string(),
                                     "--trace",
                                     trace.string(),
                                     "--trace-steps",
                                     "2"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, HasSubstr("Bottleneck: rank 3"));
  EXPECT_THAT(schema_errors(schema_of_reports(), nlohmann::json::parse(file_text(json))),
              IsEmpty());
  const nlohmann::json timeline = nlohmann::json::parse(file_text(trace));
  EXPECT_FALSE(timeline["traceEvents"].empty());
}

TEST(Output, HasNoSpacesAtTheEndsOfLines) {
  for (const char* command : {"predict", "scale"}) {
    const ProgramRun run = run_vitsim({command, kTesla});
    EXPECT_EQ(run.output.find(" \n"), std::string::npos) << run.output;
  }
}

}  // namespace
}  // namespace vitsim::test
