#include <gtest/gtest.h>

#include "calibrate/compute/compute_model.h"
#include "models/vit/cost_graph.h"
#include "sim/engine/clock.h"

namespace vitsim {
namespace {

VitSpec model() {
  return {.layers = 8, .width = 256, .heads = 8, .mlp = 1024, .patch = 16};
}

TrainingSpec training() {
  TrainingSpec spec;
  spec.model = model();
  spec.micro_batch = {4};
  return spec;
}

/// A GPU with 100 ms of forward and 200 ms of backward for 4 images, nothing known of its kernels.
GpuProfile measured_gpu() {
  GpuProfile gpu;
  gpu.name = "toy";
  gpu.steps = {{.model = model(),
                .points = {{.micro_batch = 4,
                            .data_load = milliseconds(8),
                            .forward = milliseconds(100),
                            .backward = milliseconds(200),
                            .optimizer = milliseconds(10),
                            .other = Seconds(0),
                            .count = 10}}}};
  return gpu;
}

std::unique_ptr<ComputeModel> compute(const GpuProfile& gpu) {
  ProfileSet set;
  set.gpus[gpu.name] = gpu;
  return make_compute_model(gpu.name, training(), 4, set);
}

ModelPart shard(std::int64_t tensor) {
  ModelPart part(model());
  part.tensor = tensor;
  return part;
}

// Without a host's floor a rank of t computes a t-th of the blocks' matrices, and all of embedding
// and head: whole + (t-th - whole) of the blocks' share of the flops.
TEST(PartTimes, TensorParallelRanksComputeATthOfTheMatrices) {
  const auto gpu = compute(measured_gpu());
  const double blocks = forward_flops(ModelPart(model()).only_blocks()) / forward_flops(model());
  for (const std::int64_t tensor : {2, 4, 8}) {
    const MicroBatchTimes times = gpu->at(4, shard(tensor), {});
    const double share = 1 - blocks + blocks / static_cast<double>(tensor);
    EXPECT_EQ(to_ticks(times.forward), to_ticks(milliseconds(100) * share));
    EXPECT_EQ(to_ticks(times.backward), to_ticks(milliseconds(200) * share));
    ModelPart only = shard(tensor).only_blocks();
    EXPECT_EQ(to_ticks(gpu->at(4, only, {}).forward),
              to_ticks(milliseconds(100) * (blocks / static_cast<double>(tensor))));
  }
}

TEST(PartTimes, StagesAddUpToTheWhole) {
  const auto gpu = compute(measured_gpu());
  ParallelismSpec split;
  split.pipeline.stages = 4;
  const auto blocks = deal_blocks(8, 4, 1, StageCosts{});
  Seconds forward;
  for (std::int64_t stage = 0; stage < 4; ++stage) {
    const MicroBatchTimes times =
        gpu->at(4, part_of_stage(model(), split, Recompute::kNone, blocks, stage), {});
    forward += times.forward;
    EXPECT_EQ(times.data_load, stage == 0 ? milliseconds(8) : Seconds(0));
  }
  EXPECT_NEAR(forward.value(), 0.1, 1e-12);
}

// Backward repeats the forward pass of all blocks, or only the attention's two products of S^2 D.
TEST(PartTimes, RecomputationAddsAForwardPass) {
  const auto gpu = compute(measured_gpu());
  const double all = forward_flops(model()).value();
  ModelPart part(model());
  part.recompute = Recompute::kBlock;
  const double blocks = forward_flops(part.only_blocks()).value() / all;
  EXPECT_NEAR(gpu->at(4, part, {}).backward.value(), 0.2 + 0.1 * blocks, 1e-12);
  part.recompute = Recompute::kAttention;
  const double attention = 8 * 2.0 * 2 * 197 * 197 * 256 / all;
  EXPECT_NEAR(gpu->at(4, part, {}).backward.value(), 0.2 + 0.1 * attention, 1e-12);
}

/// A GPU whose host takes far longer to launch than the device computes.
GpuProfile hosted_gpu() {
  GpuProfile gpu;
  gpu.name = "hosted";
  gpu.host = HostLaunch{.forward = milliseconds(1), .backward = milliseconds(1)};
  gpu.rates = {{.gemm_forward = FlopsPerSecond(1e15),
                .gemm_backward = FlopsPerSecond(1e15),
                .attention = FlopsPerSecond(1e15),
                .convolution = FlopsPerSecond(1e15),
                .memory = BytesPerSecond(1e15),
                .elements = 1e15}};
  return gpu;
}

// The host launches as many kernels for a t-th of the matrices, and collectives of less than that
// cost nothing on top: their time is taken out of compute.
TEST(PartTimes, TheHostHidesTensorParallelism) {
  const auto gpu = compute(hosted_gpu());
  const MicroBatchTimes whole = gpu->at(4);
  const MicroBatchTimes half = gpu->at(4, shard(2), {});
  EXPECT_NEAR(half.forward / whole.forward, 1, 1e-6);
  const Seconds calls = milliseconds(2);
  const MicroBatchTimes beside = gpu->at(4, shard(2), {.forward = calls, .backward = calls});
  EXPECT_NEAR(((beside.forward + calls) / whole.forward), 1, 1e-3);
}

// Each tensor-parallel call costs the host as well: 2 a block, twice for 4 ranks.
TEST(PartTimes, TheHostCallsCollectives) {
  GpuProfile profile = hosted_gpu();
  const auto plain = compute(profile);
  profile.host->collective = milliseconds(0.5);
  const auto calling = compute(profile);
  const Seconds more = calling->at(4, shard(4), {}).forward - plain->at(4, shard(4), {}).forward;
  EXPECT_NEAR(more.value(), 8 * 2 * 2 * 0.5e-3, 1e-4);
}

}  // namespace
}  // namespace vitsim
