// NeMo's published pretraining of ViT g/14 (40 blocks of width 1408) with micro-batches of 64, from
// one node of 8 GPUs to 16 nodes: its throughput grows to 96 % of 16 times one node's on A100s, 94
// % on H100s. NeMo computes under bf16 autocast and reduces fp32 gradients behind backward.
// Predicted from data sheets of links and the shipped profiles alone.
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "calibrate/profile/library.h"
#include "calibrate/profile/lookup.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {
namespace {

double samples_per_s(const std::string& gpu, const std::string& network, std::int64_t nodes) {
  Experiment experiment;
  for (std::int64_t node = 0; node < nodes; ++node) {
    experiment.cluster.nodes.push_back(
        {.name = "dgx" + std::to_string(node), .gpus = std::vector<GpuSpec>(8, {.model = gpu})});
  }
  experiment.cluster.network = LinkSpec{.sheet = network, .count = 8};
  TrainingSpec& training = experiment.training;
  training.model = {
      .name = "vit-g-14", .layers = 40, .width = 1408, .heads = 16, .mlp = 6144, .patch = 14};
  training.precision = Precision::kAmpBf16;
  training.gradient_sync = GradientSync::kDeepspeedZero0;
  training.micro_batch = {64};
  training.dataset = {.name = "images", .samples = 20 * 64 * 8 * nodes};
  const ProfileLibrary library({VITSIM_SOURCE_DIR "/configs/profiles"});
  const auto reports = predict(resolve(experiment, load_profiles(experiment, library)),
                               {.replicates = 100, .seed = 1, .gains = false});
  return reports.front().samples_per_s;
}

double efficiency(const std::string& gpu, const std::string& network) {
  const double one = samples_per_s(gpu, network, 1);
  const double sixteen = samples_per_s(gpu, network, 16);
  std::printf("%s: %.0f images/s on a node, %.0f on 16: %.1f %%\n",
              gpu.c_str(),
              one,
              sixteen,
              100 * sixteen / one / 16);
  return sixteen / one / 16;
}

// DGX A100: 8 HDR InfiniBand NICs; DGX H100: 8 NDR.
TEST(Nemo, ScalingEfficiencyAtSixteenNodes) {
  EXPECT_NEAR(efficiency("a100", "ib-hdr"), 0.96, 0.04);
  EXPECT_NEAR(efficiency("h100", "ib-ndr"), 0.94, 0.04);
}

// 693 images/s on 8 A100s.
TEST(Nemo, ThroughputOfANode) {
  EXPECT_NEAR(samples_per_s("a100", "ib-hdr", 1) / 693, 1, 0.12);
}

}  // namespace
}  // namespace vitsim
