#include "models/experiment/resolved.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vitsim {
namespace {

TEST(Resolved, HoldsEveryParameterAfterDefaults) {
  const Experiment experiment = experiment_from_text(R"({
    "cluster": {"nodes": [{"name": "a", "count": 2, "gpus": ["t4"]}],
                "network": {"bandwidth": "8Gbps", "latency": "50us"}},
    "training": {"model": "vit-s-16", "dataset": {"name": "cifar100"}, "micro_batch_per_gpu": 8},
    "events": [{"what": "pause", "rank": 1, "from": "1s", "to": "2s"}]})",
                                                     "c.json");
  const nlohmann::json json = resolved(experiment);
  EXPECT_EQ(json["cluster"]["nodes"].size(), 2U);
  EXPECT_EQ(json["cluster"]["nodes"][1]["name"], "a-1");
  EXPECT_EQ(json["cluster"]["nodes"][1]["gpus"][0]["slowdown"], 1);
  EXPECT_EQ(json["cluster"]["network"]["bandwidth_bytes_per_s"], 1e9);
  EXPECT_EQ(json["cluster"]["network"]["latency_s"], 50e-6);
  EXPECT_EQ(json["cluster"]["intra_node"]["assumed"], true);
  EXPECT_EQ(json["cluster"]["intra_node"]["bandwidth_bytes_per_s"], 12e9);
  const nlohmann::json& training = json["training"];
  EXPECT_EQ(training["model"]["width"], 384);
  EXPECT_EQ(training["image_size"], 224);
  EXPECT_EQ(training["dataset"]["samples"], 50'000);
  EXPECT_EQ(training["micro_batch_per_gpu"], 8);
  EXPECT_EQ(training["gradient_accumulation_steps"], 1);
  EXPECT_EQ(training["precision"], "fp32");
  EXPECT_EQ(training["optimizer"]["type"], "adamw");
  EXPECT_EQ(training["gradient_sync"], "ddp");
  EXPECT_EQ(training["seed"], 1);
  EXPECT_TRUE(training["schedule"].is_null());
  EXPECT_EQ(json["events"][0]["to_s"], 2);
}

// What a run directory states is read back as the same experiment, to the last digit.
TEST(Resolved, IsReadBackAsTheSameExperiment) {
  const auto folder = std::filesystem::path(VITSIM_SOURCE_DIR) / "configs/cluster";
  const auto file = std::filesystem::temp_directory_path() / "vitsim_resolved_test.json";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    SCOPED_TRACE(entry.path());
    nlohmann::json once = resolved(read_experiment(entry.path()));
    std::ofstream(file) << once.dump(2);
    nlohmann::json again = resolved(read_experiment(file));
    // The configuration is not read a second time: its figures are there.
    const auto forget_one = [](nlohmann::json& training) {
      training.erase("deepspeed_config");
      training.erase("loss_scale");
    };
    const auto forget = [&](nlohmann::json& json) {
      if (json.contains("training")) {
        forget_one(json["training"]);
      }
      if (json.contains("jobs")) {
        for (nlohmann::json& job : json["jobs"]) {
          forget_one(job["training"]);
        }
      }
    };
    forget(once);
    forget(again);
    EXPECT_EQ(once, again);
    ++files;
  }
  EXPECT_GE(files, 10U);
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace vitsim
