#include "models/vit/partition.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "models/experiment/rank_layout.h"
#include "models/vit/buckets.h"
#include "models/vit/cost_graph.h"

namespace vitsim {
namespace {

VitSpec huge() {
  return *vit_variant("vit-h-14");
}

// A language model: embedding of 1000 rows, which is the head's matrix too.
VitSpec language_model() {
  return {.layers = 4,
          .width = 64,
          .heads = 4,
          .mlp = 256,
          .vocabulary = 1000,
          .text_tokens = 32,
          .causal = true};
}

ModelPart stage(const VitSpec& model,
                std::int64_t tensor,
                std::int64_t stages,
                std::int64_t which) {
  ParallelismSpec split;
  split.tensor = tensor;
  split.pipeline.stages = stages;
  return part_of_stage(
      model, split, Recompute::kNone, deal_blocks(model.layers, stages, 1, StageCosts{}), which);
}

std::int64_t elements(const std::vector<ParameterTensor>& tensors) {
  return std::accumulate(
      tensors.begin(),
      tensors.end(),
      std::int64_t{0},
      [](std::int64_t sum, const ParameterTensor& tensor) { return sum + tensor.elements(); });
}

double block_products(const ModelPart& part) {
  return forward_flops(part.only_blocks()).value();
}

TEST(Partition, AWholeModelIsAPartOfItself) {
  const VitSpec model = huge();
  EXPECT_TRUE(ModelPart(model).is_whole());
  EXPECT_EQ(elements(parameters(ModelPart(model))), parameter_count(model));
  EXPECT_EQ(parameters(ModelPart(model)).size(), parameters(model).size());
}

// Blocks, embedding and head are held once each; a token model's last stage has a copy of the
// embedding.
TEST(Partition, StagesAddUpToTheModel) {
  for (const VitSpec& model : {huge(), language_model()}) {
    std::int64_t sum = 0;
    Flops flops;
    for (std::int64_t which = 0; which < 4; ++which) {
      const ModelPart part = stage(model, 1, 4, which);
      EXPECT_EQ(part.block_count(), model.layers / 4);
      EXPECT_EQ(elements(parameters(part)), parameter_count(part));
      sum += parameter_count(part);
      flops += forward_flops(part);
    }
    const std::int64_t copy = model.is_token_model() ? model.vocabulary * model.width : 0;
    EXPECT_EQ(sum, parameter_count(model) + copy);
    EXPECT_NEAR(flops / forward_flops(model), 1, 1e-12);
  }
}

// Per block of width D and MLP 4 D, matrices and the biases that go with columns are split: 12 D^2
// + 7 D of t; two biases of outputs and two norms, 6 D, are whole.
TEST(Partition, TensorParallelRanksShareMatrices) {
  const VitSpec model = huge();
  const std::int64_t d = model.width;
  ModelPart part = stage(model, 4, 1, 0).only_blocks();
  EXPECT_EQ(parameter_count(part), model.layers * ((12 * d * d + 7 * d) / 4 + 6 * d));
  EXPECT_EQ(elements(parameters(part)), parameter_count(part));
  EXPECT_DOUBLE_EQ(4 * block_products(part), block_products(model));
}

TEST(Partition, SequenceParallelRanksShareTokens) {
  VitSpec model = language_model();
  ModelPart part(model);
  part.sequence = 4;
  EXPECT_EQ(part.tokens(), 8);
  EXPECT_EQ(parameter_count(part), parameter_count(model));
  EXPECT_DOUBLE_EQ(4 * block_products(part), block_products(model));
}

// 257 tokens of vit-h-14 among 8 are padded to 264.
TEST(Partition, TokensArePadded) {
  ModelPart part(huge());
  part.tensor = 8;
  part.norms_split = true;
  EXPECT_EQ(part.padded_tokens(), 264);
  EXPECT_EQ(part.tokens(), 264);
  EXPECT_EQ(part.norm_tokens(), 33);
}

// Of two products of S^2 D only the half below the diagonal counts; the head has S rows.
TEST(Partition, CausalAttentionDoesHalfOfTheWork) {
  const VitSpec causal = language_model();
  VitSpec all = causal;
  all.causal = false;
  const double s = 32;
  const double d = 64;
  EXPECT_DOUBLE_EQ((forward_flops(all) - forward_flops(causal)).value(), 4 * 2 * s * s * d);
  ModelPart head = ModelPart(causal).only_ends();
  head.embedding = false;
  EXPECT_DOUBLE_EQ(forward_flops(head).value(), 2 * s * d * 1000);
}

TEST(Partition, EqualStagesWhereBlocksDivide) {
  EXPECT_EQ(deal_blocks(32, 4, 1, {.embedding = 3, .head = 3, .slowness = {}}),
            (std::vector<std::int64_t>{8, 8, 8, 8}));
  EXPECT_EQ(deal_blocks(32, 4, 2, StageCosts{}), std::vector<std::int64_t>(8, 4));
}

// 10 blocks on 4 stages: two have 3. With a head that weighs two blocks the last has fewer.
TEST(Partition, UnevenStagesByCost) {
  auto blocks = deal_blocks(10, 4, 1, StageCosts{});
  std::ranges::sort(blocks);
  EXPECT_EQ(blocks, (std::vector<std::int64_t>{2, 2, 3, 3}));
  EXPECT_EQ(deal_blocks(10, 4, 1, {.head = 2, .slowness = {}}),
            (std::vector<std::int64_t>{3, 3, 3, 1}));
}

// A GPU of half the speed gets half of the blocks: 4 x 1 = 2 x 2.
TEST(Partition, UnevenStagesBySpeed) {
  EXPECT_EQ(deal_blocks(6, 2, 1, {.slowness = {1, 2}}), (std::vector<std::int64_t>{4, 2}));
}

TEST(Partition, BucketsHoldWhatTheRankHolds) {
  const ModelPart part = stage(huge(), 2, 4, 3);
  std::int64_t bytes = 0;
  for (const GradientBucket& bucket : gradient_buckets(part, Bytes(2))) {
    bytes += bucket.bytes;
  }
  EXPECT_EQ(bytes, 2 * parameter_count(part));
}

// 2 tensor x 2 data x 2 stages: neighbours share matrices, the second half is the second stage.
TEST(RankLayout, TensorFirstThenDataThenPipeline) {
  ParallelismSpec split;
  split.tensor = 2;
  split.pipeline.stages = 2;
  const RankLayout layout(split, 8);
  EXPECT_EQ(layout.tensor_groups().front(), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(layout.gradient_groups().front(), (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(layout.pipelines()[3], (std::vector<std::uint32_t>{3, 7}));
  for (std::int64_t rank = 0; rank < 8; ++rank) {
    EXPECT_EQ(layout.position(layout.place(rank)), rank);
  }
}

// 4 replicas of 2 ranks, 100 samples: 25 each, in steps of 2 micro-batches of 5, and every rank of
// a replica does them all.
TEST(RankLayout, SamplesAreDealtToReplicas) {
  TrainingSpec training{.micro_batch = {5}};
  training.parallelism.tensor = 2;
  training.parallelism.pipeline.micro_batches = 2;
  const EpochPlan plan = plan_epoch(100, 8, training);
  EXPECT_EQ(plan.samples, 100);
  EXPECT_EQ(plan.steps, 3);
  EXPECT_EQ(plan.full.size(), 8U);
  EXPECT_EQ(plan.full[7].samples(), 10);
  EXPECT_EQ(plan.last[0].samples(), 5);
}

}  // namespace
}  // namespace vitsim
