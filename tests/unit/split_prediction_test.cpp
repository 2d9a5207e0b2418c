// Predictions of trainings whose model is split, from cluster to report.
#include <array>
#include <cmath>
#include <optional>

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

/// One way to split the model, and how many ranks hold the same part of it.
struct Split {
  std::int64_t tensor = 1;
  std::optional<SequenceKind> sequence;

  [[nodiscard]] std::int64_t gradient_ranks() const { return 8 / tensor; }
};

void apply(const Split& split, TrainingSpec& training) {
  training.parallelism.tensor = split.tensor;
  training.parallelism.sequence.reset();
  if (split.sequence) {
    training.parallelism.sequence = SequenceSpec{
        .kind = *split.sequence,
        .ranks = *split.sequence == SequenceKind::kMegatron ? split.tensor : std::int64_t{2},
        .pad = true};
  }
}

/// Parameters that one of `tensor` ranks holds: of each block's matrices, 4 d^2 + 2 d m, and of the
/// biases behind columns, 3 d + m, its part; all else whole.
double held_parameters(std::int64_t tensor) {
  const double d = 256;
  const double m = 1024;
  const double shared = 8 * (4 * d * d + 2 * d * m + 3 * d + m);
  return static_cast<double>(parameter_count(model())) - shared +
         shared / static_cast<double>(tensor);
}

constexpr std::array<Split, 5> kSplits = {Split{.tensor = 2, .sequence = {}},
                                          Split{.tensor = 2, .sequence = SequenceKind::kMegatron},
                                          Split{.tensor = 1, .sequence = SequenceKind::kUlysses},
                                          Split{.tensor = 1, .sequence = SequenceKind::kRing},
                                          Split{.tensor = 2, .sequence = SequenceKind::kUlysses}};

// A network that takes nothing hides everything that shards send: what is left is the update, 1 ms
// for the whole model, of which a rank does one part of those that hold the same.
TEST_F(SplitPrediction, ShardsCostNothingOnAFreeNetwork) {
  for (const Split& split : kSplits) {
    apply(split, training());
    training().gradient_sync = GradientSync::kDdp;
    const double whole = report().step_s.p50;
    const double update =
        0.001 * held_parameters(split.tensor) / static_cast<double>(parameter_count(model()));
    for (const GradientSync sync :
         {GradientSync::kDeepspeedZero2, GradientSync::kDeepspeedZero3, GradientSync::kFsdp}) {
      training().gradient_sync = sync;
      EXPECT_NEAR(whole - report().step_s.p50,
                  update * (1 - 1 / static_cast<double>(split.gradient_ranks())),
                  1e-6)
          << name(sync) << " tensor " << split.tensor;
    }
  }
}

/// Calls and bytes a step of one collective within groups of a name.
CommunicationRow row(const Report& report,
                     const std::string& collective,
                     const std::string& group) {
  CommunicationRow sum;
  for (const CommunicationRow& each : report.communication) {
    if (each.collective == collective && each.group == group) {
      sum.calls += each.calls;
      sum.bytes += each.bytes;
    }
  }
  return sum;
}

// 8 blocks and the root in forward, the blocks again in backward, of what tensor parallelism leaves
// of them; the root is what a model without blocks has. Tensor parallelism sends as ever: 4
// AllReduces a block of 197 tokens of 4 samples, 256 wide, 4 bytes each.
TEST_F(SplitPrediction, FsdpSendsWhatTensorParallelismLeaves) {
  training().accumulation = 1;
  training().gradient_sync = GradientSync::kFsdp;
  training().parallelism.tensor = 2;
  const Report found = report();
  const double held = held_parameters(2);
  const auto root = static_cast<double>(parameter_count(ModelPart(model()).only_ends()));
  EXPECT_DOUBLE_EQ(row(found, "all-gather", "data").calls, 9 + 8);
  EXPECT_DOUBLE_EQ(row(found, "all-gather", "data").bytes, 4 * (held + held - root));
  EXPECT_DOUBLE_EQ(row(found, "reduce-scatter", "data").calls, 9);
  EXPECT_DOUBLE_EQ(row(found, "reduce-scatter", "data").bytes, 4 * held);
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "tensor").calls, 8 * 4);
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "tensor").bytes, 8 * 4 * 197 * 4 * 256 * 4);
}

// Of four ranks that hold the same two shard it; a rank sums its half with one other.
TEST_F(SplitPrediction, HybridShardsOnAMesh) {
  training().accumulation = 1;
  training().gradient_sync = GradientSync::kFsdp;
  training().fsdp.shard_ranks = 2;
  training().parallelism.tensor = 2;
  const Report found = report();
  EXPECT_DOUBLE_EQ(row(found, "reduce-scatter", "shard").bytes, 4 * held_parameters(2));
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "replica").calls, 9);
  EXPECT_NEAR(row(found, "all-reduce", "replica").bytes, 2 * held_parameters(2), 9);
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "tensor").calls, 8 * 4);
}

// Gradients of both micro-batches in one AllReduce each; the parts, padded to a multiple of two
// elements for each of the four ranks, in one AllGather.
TEST_F(SplitPrediction, Zero2ReducesWhatTensorParallelismLeaves) {
  training().accumulation = 2;
  training().gradient_sync = GradientSync::kDeepspeedZero2;
  training().parallelism.tensor = 2;
  const Report found = report();
  const double held = held_parameters(2);
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "data").calls, 2);
  EXPECT_DOUBLE_EQ(row(found, "all-reduce", "data").bytes, 2 * 4 * held);
  EXPECT_DOUBLE_EQ(row(found, "all-gather", "data").bytes, 4 * std::ceil(held / 8) * 8);
}

// DeepSpeed's Ulysses: ranks that share tokens hold the same weights, so all eight shard them.
// Without persistent tensors everything is gathered and scattered once a micro-batch. Attention's
// four AllToAlls go forward and backward in each block.
TEST_F(SplitPrediction, Zero3ShardsOverTheRanksThatShareTokens) {
  training().accumulation = 1;
  training().gradient_sync = GradientSync::kDeepspeedZero3;
  training().zero.param_persistence_threshold = 0;
  apply({.sequence = SequenceKind::kUlysses}, training());
  const Report found = report();
  const auto all = static_cast<double>(parameter_count(model()));
  EXPECT_DOUBLE_EQ(row(found, "all-gather", "data").bytes, 4 * all);
  EXPECT_DOUBLE_EQ(row(found, "reduce-scatter", "data").bytes, 4 * all);
  EXPECT_DOUBLE_EQ(row(found, "all-to-all", "sequence").calls, 8 * 8);
  EXPECT_DOUBLE_EQ(found.rank_classes.front().memory.parts.optimizer, 8 * all / 8);
}

// Stages gather what they hold once and scatter its gradients once, whatever the micro-batches: two
// stages send half of all each, on average, in calls of 4 blocks and a root. A free network leaves
// the pipeline's passes, and of each stage's update a fourth.
TEST_F(SplitPrediction, FsdpInAPipeline) {
  training().parallelism.pipeline.stages = 2;
  training().gradient_sync = GradientSync::kDdp;
  const Report whole = report();
  training().gradient_sync = GradientSync::kFsdp;
  training().fsdp.reshard_after_forward = false;
  const Report found = report();
  const auto all = static_cast<double>(parameter_count(model()));
  EXPECT_NEAR(row(found, "all-gather", "data").bytes, 4 * all / 2, 1);
  EXPECT_NEAR(row(found, "reduce-scatter", "data").bytes, 4 * all / 2, 1);
  EXPECT_NEAR(row(found, "all-gather", "data").calls, 4 + 1, 1e-9);
  EXPECT_NEAR(found.phases.forward_s, whole.phases.forward_s, 1e-6);
  EXPECT_NEAR(found.phases.backward_s, whole.phases.backward_s, 1e-6);
  EXPECT_NEAR(found.phases.optimizer_s, whole.phases.optimizer_s / 4, 1e-6);
  EXPECT_LE(found.step_s.p50, whole.step_s.p50);
  EXPECT_GE(found.step_s.p50, whole.step_s.p50 - 0.001);
  // Beside a quarter of 4 bytes a parameter stand all of them, whole sums of gradients, and the
  // gradients of one block of 12 x 256^2 + 13 x 256 parameters.
  const MemoryParts& parts = found.rank_classes.front().memory.parts;
  EXPECT_DOUBLE_EQ(parts.buffers, 2 * 4 * parts.weights + 4 * 789'760);
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
