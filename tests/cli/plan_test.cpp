#include <filesystem>
#include <string>

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
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

const std::string kConfigs = VITSIM_SOURCE_DIR "/configs/";
const std::string kTesla = kConfigs + "cluster/tesla-5gpu.json";
const std::string kNodeOfT4 = kConfigs + "cluster/t4-node-of-8.json";

Json plan_of(std::vector<std::string> words, int exit_code = 0) {
  words.insert(words.begin(), "plan");
  words.insert(words.end(), {"--json", "-"});
  const ProgramRun run = run_vitsim(words);
  EXPECT_EQ(run.exit_code, exit_code) << run.errors;
  EXPECT_THAT(run.errors, IsEmpty());
  const Json plan = Json::parse(run.output, nullptr, false);
  EXPECT_FALSE(plan.is_discarded()) << run.output;
  return plan;
}

std::int64_t sum(const Json& batches) {
  std::int64_t total = 0;
  for (const Json& batch : batches) {
    total += batch.get<std::int64_t>();
  }
  return total;
}

// Three RTX 3070 beside a card that computes 20 times longer: it must go. What is left takes the
// step's 80 samples, more of them on the RTX 3070 than on the P4, in shares that take equally long.
TEST(Plan, TheFiveGpusAreFasterWithoutTheSlowest) {
  const Json plan = plan_of({kTesla});
  EXPECT_THAT(schema_errors(Json::parse(file_text(kConfigs + "schemas/plan.schema.json")), plan),
              IsEmpty());
  EXPECT_THAT(plan["headline"], StartsWith("Without the GTX 1070"));
  const Json& best = plan["options"][0];
  ASSERT_TRUE(best["set"].contains("cluster.nodes.2"));
  EXPECT_TRUE(best["set"]["cluster.nodes.2"].is_null());
  EXPECT_GT(best["gain_share"], 0.5);
  EXPECT_EQ(best["p_better"], 1);
  const Json& without = plan["without"][0];
  EXPECT_THAT(without["what"], HasSubstr("gtx-1070"));
  ASSERT_EQ(without["micro_batches"].size(), 4U);
  EXPECT_EQ(sum(without["micro_batches"]) * without["gradient_accumulation_steps"].get<int>(), 80);
  EXPECT_LT(without["micro_batches"][0], without["micro_batches"][1]);
  // On all five the slowest gets one sample of each pass.
  EXPECT_EQ(plan["micro_batches"][3], 1);
  EXPECT_LT(plan["balanced"]["epoch_s"], plan["base"]["epoch_s"]);
  EXPECT_GT(plan["balanced"]["epoch_s"], without["epoch_s"]);
}

// What an option says is what a prediction of its changes says.
TEST(Plan, AnOptionsChangesReproduceIt) {
  const Json best = plan_of({kTesla})["options"][0];
  std::vector<std::string> words = {"predict", kTesla, "--json", "-"};
  for (const auto& [key, value] : best["set"].items()) {
    words.insert(
        words.end(),
        {"--set", key + "=" + (value.is_string() ? value.get<std::string>() : value.dump())});
  }
  const ProgramRun run = run_vitsim(words);
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const Json prediction = Json::parse(run.output)["prediction"];
  EXPECT_DOUBLE_EQ(prediction["epoch_s"]["p50"], best["epoch_s"]);
  EXPECT_DOUBLE_EQ(prediction["total_s"]["p50"], best["total_s"]);
}

TEST(Plan, IsTheSameOnAnyNumberOfThreads) {
  const auto text = [](const char* threads) {
    return run_vitsim({"plan", kTesla, "--threads", threads, "--json", "-"}).output;
  };
  EXPECT_EQ(text("1"), text("4"));
}

// Eight equal GPUs in one node: no other set and no other split is faster.
TEST(Plan, EqualGpusHaveNothingToGainFromOthers) {
  const Json plan = plan_of({kNodeOfT4});
  EXPECT_THAT(plan["headline"], StartsWith("No other GPUs and no other split"));
  for (const Json& without : plan["without"]) {
    EXPECT_LT(without.value("gain_share", -1.0), 0) << without;
  }
  EXPECT_FALSE(plan["next"].empty());  // a larger batch would save time
}

// timm's discussion 580: two A6000 and two 2080 Ti. Balanced batches win; the larger cards take
// more, and the cards compute equally long.
TEST(Plan, BalancedBatchesWinOnTwoKindsOfGpus) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "two-kinds.json";
  folder.write("two-kinds.json", R"({
    "cluster": {"nodes": [{"name": "box", "gpus": ["rtx-a6000", "rtx-a6000", "rtx-2080-ti",
                                                   "rtx-2080-ti"]}]},
    "training": {"model": "vit-s-16", "dataset": {"name": "imagenet", "samples": 1281167},
                 "micro_batch_per_gpu": 64, "precision": "amp-fp16"}})");
  const Json plan = plan_of(
      {file.string(), "--keep", "training.gradient_accumulation_steps,training.gradient_sync"});
  const Json& batches = plan["micro_batches"];
  ASSERT_EQ(batches.size(), 4U);
  EXPECT_EQ(sum(batches), 4 * 64);
  EXPECT_GT(batches[0], batches[2]);
  EXPECT_GT(plan["balanced"]["gain_share"], 0.03);
  EXPECT_THAT(plan["headline"], StartsWith("With balanced micro-batches ("));
}

TEST(Plan, AddedGpusAreBalancedIn) {
  const Json plan = plan_of({kTesla, "--add", "rtx-4090:2"});
  ASSERT_EQ(plan["with"].size(), 1U);
  const Json& with = plan["with"][0];
  EXPECT_EQ(with["what"], "2 x rtx-4090");
  ASSERT_EQ(with["micro_batches"].size(), 7U);
  EXPECT_GT(with["micro_batches"][5], with["micro_batches"][1]);
}

TEST(Plan, WritesWhatItChoseAndNothingElse) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "chosen.json";
  const Json plan = plan_of({kTesla, "--write", file.string()});
  const ProgramRun run = run_vitsim({"predict", file.string(), "--json", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_DOUBLE_EQ(Json::parse(run.output)["prediction"]["total_s"]["p50"],
                   plan["options"][0]["total_s"]);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++files;
  }
  EXPECT_EQ(files, 1U);
}

TEST(Plan, NeverWritesOverItsInput) {
  const TemporaryFolder folder;
  folder.write("lab.json", file_text(kTesla));
  const auto file = folder.path() / "lab.json";
  const ProgramRun run = run_vitsim({"plan", file.string(), "--write", file.string()});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("is also read"));
  EXPECT_EQ(file_text(file), file_text(kTesla));
}

TEST(Plan, ADeadlineThatNothingMeetsSaysByHowMuch) {
  const ProgramRun run = run_vitsim({"plan", kTesla, "--deadline", "1min"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output,
              HasSubstr("Nothing found keeps the limits. The best is option 1: it takes "));
  EXPECT_THAT(run.output, HasSubstr("more than the deadline of 1 min 0 s"));
  EXPECT_EQ(run_vitsim({"plan", kTesla, "--deadline", "30d"}).exit_code, 0);
}

TEST(Plan, MistakesAreNamedWithTheirCure) {
  const auto error = [](std::vector<std::string> words) {
    words.insert(words.begin(), {"plan", kTesla});
    const ProgramRun run = run_vitsim(words);
    EXPECT_EQ(run.exit_code, 2) << run.output;
    EXPECT_THAT(run.output, IsEmpty());
    return run.errors;
  };
  EXPECT_THAT(error({"--add", "rtx-4091:2"}), HasSubstr("unknown GPU"));
  EXPECT_THAT(error({"--add", "rtx-4090:0"}), HasSubstr("write GPU or GPU:COUNT"));
  EXPECT_THAT(error({"--deadline=-2d"}), HasSubstr("must not be negative"));
  EXPECT_THAT(error({"--deadline", "2"}), HasSubstr("has no unit"));
  EXPECT_THAT(error({"--budget", "100"}), HasSubstr("/prices is missing"));
  EXPECT_THAT(error({"--objective", "cost"}), HasSubstr("/prices is missing"));
  EXPECT_THAT(error({"--keep", "training.gradient_snc"}), HasSubstr("did you mean"));
  EXPECT_THAT(error({"--keep", "training.precision", "--vary", "training.precision=tf32"}),
              HasSubstr("contradicts"));
  EXPECT_THAT(error({"--set", R"(prices={"rtx-3070": 1})"}),
              HasSubstr("has no price of \"gtx-1070\""));
}

// The price is hours by GPUs: among equal ones few, which talk little, are cheaper than all.
TEST(Plan, TheCheapestPlanUsesFewerGpus) {
  const Json plan = plan_of({kNodeOfT4,
                             "--objective",
                             "cost",
                             "--set",
                             R"(prices={"tesla-t4": 0.35, "currency": "USD"})"});
  const Json& best = plan["options"][0];
  EXPECT_THAT(plan["headline"], StartsWith("The best plan costs "));
  EXPECT_LT(best["price"], plan["base"]["price"]);
  EXPECT_LT(best["gpu_hours"], plan["base"]["gpu_hours"]);
  EXPECT_NEAR(best["price"].get<double>(), 0.35 * best["gpu_hours"].get<double>(), 1e-9);
  EXPECT_TRUE(plan["is_feasible"]);
}

// An interrupt ends the search, not the program. A shell's background jobs ignore it until the
// program asks for it, so that it may come at any time.
TEST(Plan, AnInterruptIsAnswered) {
  const ProgramRun run = run_program(
      {"bash",
       "-c",
       R"("$0" plan "$1" --global-batch free --add rtx-4090:8 & sleep 0.4; kill -INT $!; wait $!)",
       VITSIM_BINARY_DIR "/vitsim",
       kTesla});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, HasSubstr("an epoch takes"));
  EXPECT_THAT(run.output, HasSubstr("Best found by time"));
}

TEST(Plan, WhatIsKeptStays) {
  const Json plan = plan_of({kTesla, "--keep", "cluster.nodes,training.gradient_sync"});
  for (const Json& option : plan["options"]) {
    for (const auto& [key, value] : option["set"].items()) {
      EXPECT_THAT(key, Not(StartsWith("cluster.")));
      EXPECT_NE(key, "training.gradient_sync");
    }
  }
}

// Failures and checkpoints are part of the time that a plan compares.
TEST(Plan, CountsFailures) {
  const Json plan = plan_of({kTesla,
                             "--set",
                             R"(failures={"mean_time_between": "20h", "restart": "5min"})",
                             "--set",
                             R"(training.checkpoint={"every": "auto", "bandwidth": "200MB/s"})"});
  EXPECT_LT(plan["base"]["effective_share"], 1);
  EXPECT_GT(plan["base"]["effective_share"], 0.5);
}

}  // namespace
}  // namespace vitsim::test
