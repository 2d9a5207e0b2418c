#include <array>
#include <memory>

#include <gtest/gtest.h>

#include "models/experiment/rank_layout.h"
#include "sim/step/accounting.h"
#include "sim/step/builder.h"
#include "sim/step/step_executor.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

const VitSpec kSmall{
    .layers = 3, .width = 32, .heads = 2, .mlp = 64, .patch = 4, .image_size = 16, .classes = 10};

/// Any way to train with data parallelism, with sizes that cut a small model into several calls.
TrainingSpec random_training(RandomCluster& random) {
  TrainingSpec training{.model = kSmall};
  training.precision = random.chance(0.5) ? Precision::kFp32 : Precision::kFp16;
  training.gradient_sync = static_cast<GradientSync>(random.between(0, 6));
  training.zero.reduce_bucket_size = random.between(1, 40'000);
  training.zero.allgather_bucket_size = random.between(5'000, 100'000);
  training.zero.prefetch_bucket_size = random.chance(0.3) ? 0 : random.between(1, 20'000);
  training.zero.param_persistence_threshold = random.chance(0.3) ? 0 : random.between(1, 3'000);
  training.zero.max_live_parameters = random.between(1, 60'000);
  training.zero.max_reuse_distance = random.chance(0.5) ? 0 : random.between(1, 40'000);
  training.zero.multi_rank_bucket_allreduce = random.chance(0.8);
  if (random.chance(0.5)) {
    training.zero.overlap_comm = random.chance(0.5);
  }
  training.fsdp.reshard_after_forward = random.chance(0.5);
  if (random.chance(0.3)) {
    training.clip_norm = 1;
  }
  const bool shards = training.gradient_sync != GradientSync::kDdp &&
                      training.gradient_sync != GradientSync::kDeepspeedZero0 &&
                      training.gradient_sync != GradientSync::kDistributedOptimizer;
  if (shards && random.chance(0.3)) {
    training.offload.optimizer = OffloadTarget::kCpu;
    const bool all = training.gradient_sync == GradientSync::kDeepspeedZero3 ||
                     training.gradient_sync == GradientSync::kFsdp;
    training.offload.parameters =
        all && random.chance(0.5) ? OffloadTarget::kCpu : OffloadTarget::kNone;
  }
  if (training.gradient_sync == GradientSync::kDdp && random.chance(0.5)) {
    training.communication_hook =
        HookSpec{.kind = static_cast<HookKind>(random.between(0, 2)), .start_step = 0};
  } else if (training.gradient_sync == GradientSync::kDdp && random.chance(0.5)) {
    training.local_updates =
        LocalUpdatesSpec{.kind = static_cast<LocalUpdatesKind>(random.between(0, 2)), .every = 1};
  } else if (training.gradient_sync == GradientSync::kDeepspeedZero0 && random.chance(0.3)) {
    training.optimizer.kind = OptimizerKind::kOneBitAdam;
    training.optimizer.freeze_step = 0;
  }
  return training;
}

StepInput random_input(RandomCluster& random, std::size_t ranks) {
  StepInput input;
  const double slowdown = random.chance(0.5) ? 1 : 1.2;
  const std::int64_t classes = random.between(1, 3);
  for (std::int64_t k = 0; k < classes; ++k) {
    ClassWork work{.optimizer = microseconds(static_cast<double>(random.between(0, 500))),
                   .other = microseconds(static_cast<double>(random.between(0, 100))),
                   .slowdown = random.chance(0.7) ? 1 : 1.5,
                   .overlap_slowdown = slowdown,
                   .offload = {.copy = BytesPerSecond(1e9), .update_per_parameter = Seconds(1e-9)}};
    for (std::int64_t i = random.between(1, 3); i > 0; --i) {
      work.micro_batches.push_back(
          {.data_load = microseconds(static_cast<double>(random.between(0, 200))),
           .forward = microseconds(static_cast<double>(random.between(0, 2'000))),
           .backward = microseconds(static_cast<double>(random.between(0, 4'000)))});
    }
    input.classes.push_back(std::move(work));
  }
  for (std::size_t i = 0; i < ranks; ++i) {
    input.class_of.push_back(static_cast<std::uint32_t>(random.between(0, classes - 1)));
  }
  return input;
}

/// Every rank of eight reduces gradients, and the parts of its step add up to the step.
void expect_parts_add_up(const StepProgram& program,
                         const Network& network,
                         RandomCluster& random) {
  check_program(program);
  const auto group = std::make_shared<const Communicator>(network, testing::all_ranks(8));
  StepExecutor executor(group, program);
  const std::vector<Tick> starts = random.starts(8);
  StepTimes times = executor.make_times();
  std::vector<Tick> ends(8);
  executor.run(OperationTicks(program), starts, ends, &times);
  const AloneTimes alone(program, executor.groups());
  for (std::uint32_t i = 0; i < 8; ++i) {
    const StepAccount sums = account_rank(program, times, alone, i, starts[i]).step;
    EXPECT_GT(sums.phase(Phase::kGradientAllReduce), 0);
    EXPECT_EQ(sums.compute() + sums.exposed + sums.wait + sums.idle, ends[i] - starts[i]);
  }
}

// Whatever the way to train, both executors agree to the tick, and what a rank does, what it waits
// for and what is exposed make up its step.
TEST(ShardedStepProperty, ArraysEqualEvents) {
  int by_arrays = 0;
  for (std::uint64_t seed = 0; seed < 250; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 5), 1));
    const auto ranks = static_cast<std::size_t>(network.world_size());
    const StepProgram program = build_program(random_training(random), random_input(random, ranks));
    check_program(program);
    const auto group =
        std::make_shared<const Communicator>(network, testing::all_ranks(network.world_size()));
    StepExecutor executor(group, program);
    const OperationTicks ticks(program);
    const std::vector<Tick> starts = random.starts(ranks);
    StepTimes slow = executor.make_times();
    std::vector<Tick> slow_ends(ranks);
    executor.run_events(ticks, starts, slow_ends, &slow);
    const AloneTimes alone(program, executor.groups());
    for (std::uint32_t i = 0; i < ranks; ++i) {
      const StepAccount sums = account_rank(program, slow, alone, i, starts[i]).step;
      EXPECT_EQ(sums.compute() + sums.exposed + sums.wait + sums.idle, slow_ends[i] - starts[i]);
    }
    if (!executor.by_arrays()) {
      continue;
    }
    ++by_arrays;
    StepTimes fast = executor.make_times();
    std::vector<Tick> fast_ends(ranks);
    executor.run(ticks, starts, fast_ends, &fast);
    EXPECT_EQ(fast_ends, slow_ends);
    for (std::size_t i = 0; i < ranks; ++i) {
      for (std::size_t k = 0; k < program.of(i).operations.size(); ++k) {
        ASSERT_EQ(fast.ends(k)[i], slow.ends(k)[i])
            << "position " << i << ": " << describe(program.of(i).operations[k], k);
      }
    }
  }
  EXPECT_GT(by_arrays, 100);
}

// Four machines of two GPUs, hybrid shards inside: groups on two axes, and two streams that
// communicate. Every rank's step adds up.
TEST(ShardedStepProperty, HybridShardsAddUp) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(4, 2));
    TrainingSpec training{.model = kSmall};
    training.gradient_sync = GradientSync::kFsdp;
    training.fsdp.shard_ranks = 2;
    const StepProgram program = build_program(training, random_input(random, 8));
    expect_parts_add_up(program, network, random);
  }
}

// The same with shards of any size, also of none: classes of ranks hold, copy and update theirs.
TEST(ShardedStepProperty, UnevenShardsByArraysEqualEvents) {
  int by_arrays = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 5), 1));
    const auto ranks = static_cast<std::size_t>(network.world_size());
    TrainingSpec training{.model = kSmall};
    training.gradient_sync =
        random.chance(0.5) ? GradientSync::kFsdp : GradientSync::kDeepspeedZero3;
    training.zero.param_persistence_threshold = random.between(0, 3'000);
    training.zero.prefetch_bucket_size = random.between(0, 20'000);
    if (random.chance(0.3)) {
      training.offload.optimizer = OffloadTarget::kCpu;
    }
    StepInput input = random_input(random, ranks);
    for (ClassWork& work : input.classes) {
      work.shard = random.chance(0.2) ? 0 : static_cast<double>(random.between(1, 100));
    }
    input.classes[input.class_of[0]].shard = 50;
    std::vector<double> shares;
    double sum = 0;
    for (const std::uint32_t of : input.class_of) {
      shares.push_back(*input.classes[of].shard);
      sum += shares.back();
    }
    for (double& share : shares) {
      share /= sum;
    }
    for (ClassWork& work : input.classes) {
      *work.shard /= sum;
    }
    const StepProgram program = build_program(training, input);
    check_program(program);
    const auto group = std::make_shared<const Communicator>(
        network, testing::all_ranks(network.world_size()), shares);
    StepExecutor executor(group, program);
    const OperationTicks ticks(program);
    const std::vector<Tick> starts = random.starts(ranks);
    std::vector<Tick> slow(ranks);
    executor.run_events(ticks, starts, slow);
    if (executor.by_arrays()) {
      ++by_arrays;
      std::vector<Tick> fast(ranks);
      executor.run(ticks, starts, fast);
      EXPECT_EQ(fast, slow);
    }
  }
  EXPECT_GT(by_arrays, 30);
}

/// Eight ranks of which two share matrices, or the tokens of a sample: passes of random length with
/// the calls of every block.
StepInput random_split(RandomCluster& random, TrainingSpec& training) {
  const bool by_tensor = random.chance(0.5);
  if (by_tensor) {
    training.parallelism.tensor = 2;
  } else {
    training.parallelism.sequence =
        SequenceSpec{.kind = random.chance(0.5) ? SequenceKind::kUlysses : SequenceKind::kRing,
                     .ranks = 2,
                     .pad = true};
  }
  const RankLayout layout(training.parallelism, 8);
  const std::vector<std::int64_t> blocks = {training.model.layers};
  const ModelPart part =
      part_of_stage(training.model, training.parallelism, Recompute::kNone, blocks, 0);
  StepInput input{
      .class_of = std::vector<std::uint32_t>(8, 0),
      .axes = {{.name = "data", .groups = layout.gradient_groups()},
               by_tensor ? GroupAxis{.name = "tensor", .groups = layout.tensor_groups()}
                         : GroupAxis{.name = "sequence", .groups = layout.sequence_groups()}},
      .axis_algorithm = [](std::uint32_t, CollectiveKind kind, std::int64_t) {
        return kind == CollectiveKind::kAllToAll ? Algorithm::kPairwise : Algorithm::kRing;
      }};
  if (training.fsdp.shard_ranks) {
    GroupAxis shards{.name = "shard"};
    GroupAxis replicas{.name = "replica"};
    for (const std::vector<std::uint32_t>& alike : layout.gradient_groups()) {
      add_hybrid_groups(alike, *training.fsdp.shard_ranks, shards, replicas);
    }
    input.hybrid = HybridAxes{.shards = 2, .replicas = 3};
    input.axes.push_back(shards);
    input.axes.push_back(replicas);
  }
  ReplicaWork replica;
  ChunkWork& chunk = replica.chunks.emplace_back();
  place_calls(part,
              by_tensor
                  ? tensor_calls(part, Precision::kFp32, 1)
                  : sequence_calls(part, training.parallelism.sequence->kind, Precision::kFp32, 1),
              chunk);
  ClassWork work{.optimizer = microseconds(300), .part = part};
  for (std::int64_t i = random.between(1, 3); i > 0; --i) {
    const Seconds forward = microseconds(static_cast<double>(random.between(0, 2'000)));
    const Seconds backward = microseconds(static_cast<double>(random.between(0, 4'000)));
    replica.samples.push_back(2);
    chunk.forward.push_back(forward);
    chunk.backward.push_back(backward);
    work.micro_batches.push_back({.forward = forward, .backward = backward});
  }
  work.replica = replica;
  input.classes.push_back(work);
  return input;
}

// Shards of what tensor or sequence parallelism leaves: all of a rank's collectives meet those of
// the others, and every rank's step adds up.
TEST(ShardedStepProperty, ShardsOfASplitModelAddUp) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(4, 2));
    TrainingSpec training{.model = kSmall};
    static constexpr std::array<GradientSync, 3> kSyncs = {
        GradientSync::kDeepspeedZero2, GradientSync::kDeepspeedZero3, GradientSync::kFsdp};
    training.gradient_sync = kSyncs[seed % 3];
    training.zero.reduce_bucket_size = random.between(1'000, 40'000);
    training.zero.prefetch_bucket_size = random.between(0, 20'000);
    training.zero.param_persistence_threshold = random.between(0, 3'000);
    training.fsdp.reshard_after_forward = random.chance(0.5);
    if (training.gradient_sync == GradientSync::kFsdp && random.chance(0.4)) {
      training.fsdp.shard_ranks = 2;
    }
    const StepProgram program = build_program(training, random_split(random, training));
    expect_parts_add_up(program, network, random);
  }
}

}  // namespace
}  // namespace vitsim
