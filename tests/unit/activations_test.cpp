#include "models/vit/activations.h"

#include <gtest/gtest.h>

#include "models/vit/memory.h"

namespace vitsim {
namespace {

TrainingSpec training(std::int64_t width, std::int64_t tensor, std::int64_t layers = 32) {
  TrainingSpec spec;
  spec.model = {.layers = layers, .width = width, .heads = 16, .mlp = 4 * width, .patch = 16};
  spec.precision = Precision::kBf16;
  spec.parallelism.tensor = tensor;
  return spec;
}

StagePart held(const TrainingSpec& spec, std::int64_t stage = 0) {
  const auto blocks = deal_blocks(spec.model.layers,
                                  spec.parallelism.pipeline.stages,
                                  spec.parallelism.pipeline.chunks,
                                  StageCosts{});
  return {.part = part_of_stage(spec.model, spec.parallelism, spec.recompute, blocks, stage),
          .stage = stage};
}

// What one more block keeps of a sample.
double block_mib(TrainingSpec spec) {
  const double more = activation_bytes(spec, held(spec), 1, 1).value();
  --spec.model.layers;
  return (more - activation_bytes(spec, held(spec), 1, 1).value()) / mebibytes(1).value();
}

// Measured without tensor parallelism: 9.209 and 18.00 MiB for widths of 1280 and 2560. Of t ranks
// each keeps (9.1 + 29.2 / t) / 38.3 of it; with the sequence split as well a t-th.
TEST(Activations, OfABlockAsMeasured) {
  for (const auto& [width, measured] : {std::pair(1280, 9.209), std::pair(2560, 18.00)}) {
    for (const std::int64_t tensor : {2, 4, 8}) {
      const double share = (9.1 + 29.2 / static_cast<double>(tensor)) / 38.3;
      EXPECT_NEAR(block_mib(training(width, tensor)) / (measured * share), 1, 0.05);
    }
    TrainingSpec split = training(width, 4);
    split.parallelism.sequence = SequenceSpec{.kind = SequenceKind::kMegatron, .pad = true};
    // 197 tokens are padded to 200.
    EXPECT_NEAR(block_mib(split) / (measured / 4 * 200 / 197), 1, 0.05);
  }
}

// 2 S D bytes: 197 x 1280 x 2.
TEST(Activations, RecomputedBlocksKeepTheirInput) {
  TrainingSpec spec = training(1280, 1);
  spec.recompute = Recompute::kBlock;
  EXPECT_NEAR(block_mib(spec) * mebibytes(1).value(), 197 * 1280 * 2, 1);
}

// 8 micro-batches on 4 stages.
TEST(Activations, SchedulesKeepMicroBatchesAlive) {
  TrainingSpec spec = training(1280, 1);
  spec.parallelism.pipeline = {.stages = 4, .schedule = PipelineSchedule::kGpipe};
  spec.parallelism.pipeline.micro_batches = 8;
  EXPECT_DOUBLE_EQ(live_micro_batches(spec, 0), 8);
  EXPECT_DOUBLE_EQ(live_micro_batches(spec, 3), 8);
  spec.parallelism.pipeline.schedule = PipelineSchedule::k1F1B;
  EXPECT_DOUBLE_EQ(live_micro_batches(spec, 0), 4);
  EXPECT_DOUBLE_EQ(live_micro_batches(spec, 3), 1);
  // Two chunks a stage: the first does 2 x 3 + 4 chunks ahead, and one more alternates.
  spec.parallelism.pipeline.schedule = PipelineSchedule::kInterleaved;
  spec.parallelism.pipeline.chunks = 2;
  EXPECT_DOUBLE_EQ(live_micro_batches(spec, 0), 5.5);
}

// Each stage holds its own part: a quarter of the blocks' states.
TEST(Activations, MemoryFollowsTheStage) {
  TrainingSpec spec = training(1280, 1);
  spec.parallelism.pipeline.stages = 4;
  spec.parallelism.pipeline.micro_batches = 8;
  const MemoryParts first = memory_parts(spec, 1, 16, {}, held(spec, 0));
  const MemoryParts last = memory_parts(spec, 1, 16, {}, held(spec, 3));
  EXPECT_DOUBLE_EQ(first.weights, 2 * static_cast<double>(parameter_count(held(spec, 0).part)));
  EXPECT_GT(first.activations, 3.5 * last.activations);
  const Bytes capacity(first.total());
  EXPECT_EQ(largest_micro_batch(spec, 1, {}, capacity, held(spec, 0)), 16);
  EXPECT_GT(*largest_micro_batch(spec, 1, {}, capacity, held(spec, 3)), 16);
}

}  // namespace
}  // namespace vitsim
