// Predictions of trainings whose model is split, from cluster to report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "models/vit/cost_graph.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;

VitSpec model() {
  return {.layers = 8, .width = 256, .heads = 8, .mlp = 1024, .patch = 16, .classes = 10};
}

class SplitPrediction : public ::testing::Test {
 protected:
  // 10 ms of forward and 20 ms of backward for 4 images, a network that takes next to nothing.
  SplitPrediction() {
    GpuProfile gpu;
    gpu.name = "toy";
    gpu.steps = {{.model = model(),
                  .points = {{.micro_batch = 4,
                              .data_load = Seconds(0),
                              .forward = milliseconds(10),
                              .backward = milliseconds(20),
                              .optimizer = milliseconds(1),
                              .other = Seconds(0),
                              .count = 10}}}};
    profiles_.gpus["toy"] = gpu;
    experiment_.cluster.nodes = {
        {.name = "node", .gpus = std::vector<GpuSpec>(8, {.model = "toy"})}};
    experiment_.cluster.intra_node =
        LinkSpec{.bandwidth = BytesPerSecond(1e16), .latency = Seconds(0)};
    training().model = model();
    training().micro_batch = {4};
    training().accumulation = 8;
    training().all_reduce = AllReduceAlgorithm::kRing;
    training().dataset = {.name = "images", .samples = 4 * 8 * 8 * 10};
  }

  TrainingSpec& training() { return experiment_.training; }

  [[nodiscard]] Report report() const {
    return predict(resolve(experiment_, profiles_), {.replicates = 1, .seed = 1, .gains = false})
        .front();
  }

  ProfileSet profiles_;
  Experiment experiment_;
};

// Blocks take all but what embedding and head take of the flops; of 4 ranks each has a quarter.
TEST_F(SplitPrediction, TensorParallelism) {
  training().parallelism.tensor = 4;
  const Report found = report();
  const double blocks = forward_flops(ModelPart(model()).only_blocks()) / forward_flops(model());
  const double share = 1 - blocks + blocks / 4;
  EXPECT_NEAR(found.phases.forward_s, 8 * 0.01 * share, 1e-6);
  EXPECT_NEAR(found.phases.backward_s, 8 * 0.02 * share, 1e-6);
  EXPECT_EQ(found.samples_per_epoch, 4 * 8 * 8 * 10);
  EXPECT_EQ(found.steps_per_epoch, 40);  // of 2 replicas
  ASSERT_EQ(found.rank_classes.size(), 1U);
  EXPECT_EQ(found.rank_classes.front().count, 8);
}

// 8 micro-batches through 4 stages. Were all like the inner ones, 8 + 3 of them; the first has the
// embedding on top: at most 7 of the longest stage, and once through all of them.
TEST_F(SplitPrediction, Pipeline) {
  training().parallelism.pipeline.stages = 4;
  const Report found = report();
  ASSERT_EQ(found.rank_classes.size(), 4U);
  const double all = forward_flops(model()).value();
  const double block = forward_flops(ModelPart(model()).only_blocks()).value() / all / 8;
  ModelPart embedding = ModelPart(model()).only_ends();
  embedding.head = false;
  const double first = 2 * block + forward_flops(embedding).value() / all;
  const double update = found.phases.optimizer_s;
  EXPECT_GE(found.step_s.p50, 0.03 * 11 * 2 * block + update);
  EXPECT_LE(found.step_s.p50, 0.03 * (7 * first + 1) + 4 * update + 1e-6);
  EXPECT_GT(found.wait_s, 0.03 * 3 * block);  // the bubble
  // The first stage keeps four micro-batches alive, the last one.
  EXPECT_GT(found.rank_classes.front().memory.parts.activations,
            3 * found.rank_classes.back().memory.parts.activations);
}

TEST_F(SplitPrediction, RecomputationAddsAForwardPass) {
  const double plain = report().phases.backward_s;
  training().recompute = Recompute::kBlock;
  const double blocks = forward_flops(ModelPart(model()).only_blocks()) / forward_flops(model());
  EXPECT_NEAR(report().phases.backward_s - plain, 8 * 0.01 * blocks, 1e-6);
}

// Every way at once runs, and its parts add up (which `predict` checks).
TEST_F(SplitPrediction, EverythingTogether) {
  training().parallelism.tensor = 2;
  training().parallelism.sequence =
      SequenceSpec{.kind = SequenceKind::kUlysses, .ranks = 2, .pad = true};
  training().parallelism.pipeline = {
      .stages = 2, .schedule = PipelineSchedule::kInterleaved, .chunks = 2};
  for (const GradientSync sync :
       {GradientSync::kDdp, GradientSync::kDeepspeedZero0, GradientSync::kDeepspeedZero1}) {
    training().gradient_sync = sync;
    EXPECT_GT(report().step_s.p50, 8 * 0.03 / 8);
  }
  // A last step that does not fill the schedule's rounds.
  training().dataset.samples += 4 * 3;
  EXPECT_EQ(report().steps_per_epoch, 81);
}

// Keys and values go around beside attention: with a free network a rank computes half of all.
TEST_F(SplitPrediction, RingAttention) {
  training().parallelism.sequence =
      SequenceSpec{.kind = SequenceKind::kRing, .ranks = 2, .pad = true};
  const Report found = report();
  EXPECT_LT(found.exposed_communication_s, 1e-4);
  EXPECT_NEAR(found.phases.forward_s, 8 * 0.01 / 2, 0.08 * 0.02);
}

TEST_F(SplitPrediction, RanksMustHoldWholeReplicas) {
  training().parallelism.tensor = 8;
  experiment_.cluster.nodes.front().gpus.pop_back();
  try {
    static_cast<void>(report());
    FAIL() << "7 ranks hold no model that is split among 8";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("take a multiple of 8"));
  }
}

}  // namespace
}  // namespace vitsim
