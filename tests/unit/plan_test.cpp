#include "sim/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "calibrate/profile/lookup.h"
#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::filesystem::path kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";

PlanRequest tesla() {
  return {.text = experiment_text(kTesla), .file = kTesla, .predict = {.replicates = 20}};
}

std::vector<std::string> changes(const GpuSets& sets) {
  std::vector<std::string> words;
  for (const GpuSet& set : sets.sets) {
    words.push_back(set.change);
  }
  return words;
}

TEST(GpuSets, TitlesAreWhatPeopleWrite) {
  EXPECT_EQ(gpu_title("rtx-2080-ti"), "RTX 2080 Ti");
  EXPECT_EQ(gpu_title("gtx-1070"), "GTX 1070");
  EXPECT_EQ(gpu_title("tesla-p4"), "Tesla P4");
  EXPECT_EQ(gpu_title("a100-80gb"), "A100 80GB");
}

TEST(GpuSets, AdditionsAreANameAndACount) {
  EXPECT_EQ(parse_added_gpus("rtx-4090:2").count, 2);
  EXPECT_EQ(parse_added_gpus("h100").count, 1);
  for (const char* wrong : {"", ":2", "h100:", "h100:0", "h100:x", "h100:1.5"}) {
    EXPECT_THROW((void)parse_added_gpus(wrong), UserError) << wrong;
  }
}

// A node with a P4, two nodes with an RTX 3070: 2 x 3 numbers, less the empty set. Nodes that are
// alike are left out from the end of the list.
TEST(GpuSets, OfFewNodesEveryNumberIsTried) {
  const auto file = nlohmann::json::parse(R"({"cluster": {"nodes": [
    {"name": "old", "gpus": ["tesla-p4"]}, {"name": "new", "count": 2, "gpus": ["rtx-3070"]}]}})");
  const GpuSets sets = gpu_sets(file, {});
  EXPECT_EQ(sets.sets.size(), 5U);
  EXPECT_THAT(sets.sets.front().set, IsEmpty());
  EXPECT_THAT(sets.notes, IsEmpty());
  EXPECT_THAT(changes(sets), Contains("leave out 1 of 2 rtx-3070"));
  EXPECT_THAT(changes(sets), Contains("leave out all 2 rtx-3070 (2 x new)"));
  const auto found = std::ranges::find(sets.sets, "leave out 1 of 2 rtx-3070", &GpuSet::change);
  ASSERT_EQ(found->set.size(), 1U);
  EXPECT_EQ(found->set[0].key, "cluster.nodes.1.count");
  EXPECT_EQ(found->set[0].value, "1");
  EXPECT_TRUE(found->is_one_step);
}

// Two kinds of GPUs in one node: either can be left out.
TEST(GpuSets, KindsInsideANodeAreLeftOut) {
  const auto file = nlohmann::json::parse(
      R"({"cluster": {"nodes": [{"gpus": ["rtx-3090", "rtx-3090", "v100"]}]}})");
  const GpuSets sets = gpu_sets(file, {});
  const auto found = std::ranges::find(sets.sets, "leave out the v100", &GpuSet::change);
  ASSERT_NE(found, sets.sets.end());
  EXPECT_EQ(found->set[0].key, "cluster.nodes.0.gpus");
  EXPECT_EQ(found->set[0].value, R"(["rtx-3090","rtx-3090"])");
  EXPECT_THAT(found->left_out, ElementsAre("the V100"));
}

// What joins a node goes with it; nodes whose links differ are not alike.
TEST(GpuSets, LinksGoWithTheirNodes) {
  const auto file = nlohmann::json::parse(R"({"cluster": {
    "switches": ["s"], "nodes": [{"name": "a", "gpus": ["v100"]}, {"name": "b", "gpus": ["v100"]}],
    "links": [{"ends": ["a", "s"], "bandwidth": "1Gbps"}, {"ends": ["s", "b"], "bandwidth": "9Gbps"}]}})");
  const GpuSets sets = gpu_sets(file, {});
  ASSERT_EQ(sets.sets.size(), 3U);
  for (std::size_t i = 1; i < 3; ++i) {
    ASSERT_EQ(sets.sets[i].set.size(), 2U);
    EXPECT_EQ(sets.sets[i].set[0].value, "null");
    EXPECT_EQ(sets.sets[i].set[0].key.back(), sets.sets[i].set[1].key.back());
  }
}

// The only node of a file without a network takes what is added; else nodes as large as the
// largest come behind the last.
TEST(GpuSets, GpusAreAddedWhereTheyFit) {
  const auto box = nlohmann::json::parse(R"({"cluster": {"nodes": [{"gpus": ["v100", "v100"]}]}})");
  EXPECT_EQ(gpu_sets(box, {{.gpu = "h100", .count = 1}}).sets.back().step, "1 x h100");
  const auto sets = gpu_sets(box, {{.gpu = "h100", .count = 1}}).sets;
  const auto whole = std::ranges::find_if(
      sets, [](const GpuSet& set) { return set.is_one_step && !set.added.empty(); });
  ASSERT_NE(whole, sets.end());
  EXPECT_EQ(whole->set[0].value, R"(["v100","v100","h100"])");
  const auto lab = nlohmann::json::parse(
      R"({"cluster": {"network": {}, "nodes": [{"gpus": ["v100", "v100"]}, {"gpus": ["v100"]}]}})");
  const auto more = gpu_sets(lab, {{.gpu = "h100", .count = 5}}).sets;
  const auto added = std::ranges::find_if(
      more, [](const GpuSet& set) { return set.is_one_step && !set.added.empty(); });
  ASSERT_NE(added, more.end());
  ASSERT_EQ(added->set.size(), 2U);
  EXPECT_EQ(added->set[0].key, "cluster.nodes.2");
  EXPECT_EQ(nlohmann::json::parse(added->set[0].value)["count"], 2);
  EXPECT_EQ(nlohmann::json::parse(added->set[1].value)["gpus"].size(), 1U);
}

TEST(Variants, KeptKeysStay) {
  EXPECT_TRUE(is_kept({"training.zero"}, "training.zero.overlap_comm"));
  EXPECT_FALSE(is_kept({"training.zero"}, "training.zeroes"));
  const Experiment base = experiment_from_text(experiment_text(kTesla), kTesla);
  const std::vector<std::string> all = {"training"};
  EXPECT_EQ(variants(base, all, {}).size(), 1U);
  // The file's way, and 16 bits besides.
  EXPECT_EQ(variants(base, all, {{"training.precision", {"fp16", "bf16"}}}).size(), 3U);
}

// Only FSDP and ZeRO-3 take shards of unequal size, and only with data parallelism alone: every
// other way begins by making them even.
TEST(Variants, OtherWaysHaveEvenShards) {
  Experiment base = experiment_from_text(experiment_text(kTesla), kTesla);
  base.training.gradient_sync = GradientSync::kFsdp;
  base.training.parallelism.shards.by_memory = true;
  int even = 0;
  for (const Variant& variant : variants(base, {}, {})) {
    const auto has = [&](const std::string& key, const std::string& value) {
      return std::ranges::any_of(variant.set, [&](const Override& change) {
        return change.key == key && change.value == value;
      });
    };
    const bool is_split = std::ranges::any_of(variant.set, [](const Override& change) {
      return change.key == "training.parallelism.tensor";
    });
    const bool is_ddp = has("training.gradient_sync", "ddp");
    const bool keeps = !is_split && !std::ranges::any_of(variant.set, [](const Override& change) {
      return change.key == "training.gradient_sync";
    });
    EXPECT_TRUE(!(is_split || is_ddp) || has("training.parallelism.shards", "even"));
    EXPECT_TRUE(!keeps || !has("training.parallelism.shards", "even"));
    even += is_ddp ? 1 : 0;
  }
  EXPECT_GT(even, 0);
}

// The search predicts few candidates, yet finds what predicting the best of every set of GPUs by
// itself finds.
TEST(PlanSearch, WhatIsBoundedAwayIsNotBetter) {
  const std::string text = experiment_text(kTesla);
  PlanSpace space{.text = text, .file = kTesla};
  space.base = experiment_from_text(text, kTesla);
  space.profiles = load_profiles(space.base, ProfileLibrary());
  space.sets = gpu_sets(nlohmann::json::parse(text), {}).sets;
  space.variants = variants(space.base, {"training"}, {});
  space.keeps_accumulation = true;
  const PlanSearch search(space, Objective::kTime, {});
  const SearchResult result = search.run({});
  ASSERT_FALSE(result.best.empty());
  EXPECT_GT(result.bounded_away, 0);
  EXPECT_EQ(result.predicted + result.bounded_away, result.candidates);
  double best = 1e300;
  for (std::size_t set = 0; set < space.sets.size(); ++set) {
    if (const auto tried = search.best_of_set(set); tried && tried->plain.fits) {
      best = std::min(best, tried->objective);
    }
  }
  EXPECT_DOUBLE_EQ(result.best.front().objective, best);
  EXPECT_EQ(result.not_tried, 0);
}

TEST(Plan, AnInterruptedSearchAnswersWithWhatItHas) {
  int asked = 0;
  const Plan plan = make_plan(tesla(), [&](const PlanProgress& progress) {
    ++asked;
    EXPECT_GT(progress.candidates, progress.predicted);
    return false;
  });
  EXPECT_EQ(asked, 1);
  EXPECT_TRUE(plan.search.interrupted);
  EXPECT_GT(plan.search.not_tried, 0);
  EXPECT_FALSE(plan.options.empty());
  EXPECT_THAT(plan.notes, Contains(HasSubstr("interrupted after ")));
}

TEST(Plan, NeedsOneTrainingAndASizeOfItsData) {
  PlanRequest request = tesla();
  request.settings = {{"training.dataset", R"({"name": "image-folder", "path": "x"})"}};
  EXPECT_THROW((void)make_plan(request, {}), UserError);
  const std::filesystem::path jobs = VITSIM_SOURCE_DIR "/configs/cluster/two-jobs.json";
  EXPECT_THROW((void)make_plan({.text = experiment_text(jobs), .file = jobs}, {}), UserError);
}

// A written file says the same from another folder.
TEST(Plan, WrittenPathsAreRelativeToTheNewFolder) {
  const std::string text = R"({"profiles": ["p", "/abs"], "training": {
    "dataset": {"path": "../data"}, "micro_batch_per_gpu": 1}})";
  const auto json = nlohmann::json::parse(text_with_overrides(
      text, "/lab/configs/file.json", {{"training.micro_batch_per_gpu", "[1,2]"}}, "/lab/out"));
  EXPECT_EQ(json["profiles"][0], "../configs/p");
  EXPECT_EQ(json["profiles"][1], "/abs");
  EXPECT_EQ(json["training"]["dataset"]["path"], "../data");
  EXPECT_EQ(json["training"]["micro_batch_per_gpu"], nlohmann::json({1, 2}));
}

}  // namespace
}  // namespace vitsim
