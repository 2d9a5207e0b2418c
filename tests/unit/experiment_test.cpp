#include "models/experiment.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDesignExample = R"({
  "cluster": {
    "nodes": [
      { "name": "old", "gpus": ["tesla-p4"] },
      { "name": "box", "count": 3, "gpus": ["rtx-3070"] },
      { "name": "older", "gpus": ["gtx-1070"], "nic": { "bandwidth": "1Gbps", "latency": "80us" } }
    ],
    "network": { "bandwidth": "10Gbps", "latency": "50us" }
  },
  "training": {
    "model": "vit-b-16",
    "dataset": { "name": "cifar10", "samples": 50000, "fraction": 0.5 },
    "micro_batch_per_gpu": 16,
    "epochs": 10,
    "precision": "fp32",
    "optimizer": { "type": "adamw", "lr": 1e-4 },
    "gradient_sync": "deepspeed-zero-0"
  }
})";

// The messages that reading `text` gives, none if it is right.
std::vector<std::string> problems_of(const std::string& text,
                                     const std::vector<Override>& overrides = {}) {
  try {
    experiment_from_text(text, "tesla.json", overrides);
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

std::string with(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Experiment, ReadsTheDesignsExample) {
  const Experiment experiment = experiment_from_text(kDesignExample, "tesla.json");
  std::vector<std::string> names;
  for (const NodeSpec& node : experiment.cluster.nodes) {
    names.push_back(node.name);
  }
  EXPECT_THAT(names, ElementsAre("old", "box-0", "box-1", "box-2", "older"));
  EXPECT_EQ(experiment.cluster.world_size(), 5);
  // 10 Gbit/s are 1.25 GB/s.
  EXPECT_EQ(experiment.cluster.network->bandwidth, BytesPerSecond(1.25e9));
  EXPECT_EQ(experiment.cluster.network->latency, Seconds(50e-6));
  EXPECT_EQ(experiment.cluster.nodes[4].nic->bandwidth, BytesPerSecond(1.25e8));
  EXPECT_FALSE(experiment.cluster.nodes[0].nic.has_value());
  EXPECT_EQ(experiment.cluster.nodes[0].gpus[0].where, "tesla.json:4: /cluster/nodes/0/gpus/0");
  EXPECT_EQ(experiment.cluster.nodes[3].gpus[0].where, "tesla.json:5: /cluster/nodes/1/gpus/0");
  EXPECT_EQ(experiment.training.model, *vit_variant("vit-b-16"));
  EXPECT_EQ(experiment.training.dataset.samples, 50'000);
  EXPECT_EQ(experiment.training.dataset.fraction, 0.5);
  EXPECT_THAT(experiment.training.micro_batch, ElementsAre(16));
  EXPECT_EQ(experiment.training.epochs, 10);
  EXPECT_EQ(experiment.training.gradient_sync, GradientSync::kDeepspeedZero0);
  EXPECT_EQ(experiment.training.optimizer.lr, 1e-4);
}

TEST(Experiment, DefaultsAreThoseOfTheFormat) {
  const Experiment experiment = experiment_from_text(R"({
    "cluster": {"nodes": [{"name": "a", "gpus": ["t4"]}]},
    "training": {"model": "vit-s-16", "dataset": {"name": "cifar100"}, "micro_batch_per_gpu": 8}
  })",
                                                     "one.json");
  const TrainingSpec& training = experiment.training;
  EXPECT_EQ(training.model.image_size, 224);
  EXPECT_EQ(training.model.channels, 3);
  EXPECT_EQ(training.model.classes, 1000);
  EXPECT_EQ(training.dataset.samples, 50'000);
  EXPECT_EQ(training.dataset.fraction, 1);
  EXPECT_EQ(training.accumulation, 1);
  EXPECT_EQ(training.epochs, 1);
  EXPECT_EQ(training.precision, Precision::kFp32);
  EXPECT_EQ(training.optimizer.kind, OptimizerKind::kAdamW);
  EXPECT_EQ(training.optimizer.lr, 1e-4);
  EXPECT_EQ(training.gradient_sync, GradientSync::kDdp);
  EXPECT_EQ(training.all_reduce, AllReduceAlgorithm::kRing);
  EXPECT_EQ(training.seed, 1U);
  EXPECT_FALSE(training.schedule || training.clip_norm || training.checkpoint);
}

TEST(Experiment, ReportsAllProblemsAtOnceWithTheirPlaces) {
  std::string text = with(kDesignExample, "\"epochs\": 10", "\"epoch\": 10");
  text = with(text, "\"10Gbps\"", "10");
  text = with(text, "\"vit-b-16\"", "\"vit-b16\"");
  text = with(text, "\"micro_batch_per_gpu\": 16", "\"micro_batch_per_gpu\": 0");
  const auto problems = problems_of(text);
  EXPECT_THAT(
      problems,
      ElementsAre("tesla.json:8: /cluster/network/bandwidth: 10 has no unit: append one, e.g. "
                  "\"Gbps\" for bits or \"GB/s\" for bytes",
                  "tesla.json:11: /training/model: unknown model \"vit-b16\" (did you mean "
                  "\"vit-b-16\"?)",
                  "tesla.json:13: /training/micro_batch_per_gpu: 0 is out of range: must be from 1 "
                  "to 1000000",
                  "tesla.json:14: /training/epoch: unknown key \"epoch\" (did you mean "
                  "\"epochs\"?)"));
}

}  // namespace
}  // namespace vitsim
