#include "sim/step/replica.h"

#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "models/experiment/rank_layout.h"
#include "sim/step/builder.h"
#include "sim/step/class_level.h"
#include "sim/step/step_executor.h"
#include "sim/step/writer.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

constexpr Tick kMs = 1'000'000'000;
constexpr Tick kForward = 10 * kMs;
constexpr Tick kBackward = 20 * kMs;

/// A pipeline of equal stages, one rank each; every rank passes through `chunks` chunks that share
/// its times.
struct Pipeline {
  std::int64_t stages = 4;
  std::int64_t micro_batches = 8;
  PipelineSchedule schedule = PipelineSchedule::k1F1B;
  std::int64_t chunks = 1;
  double message_bytes = 0;
  std::vector<double> slowness = {};  // by stage; empty: all 1

  [[nodiscard]] StepProgram program() const {
    StepInput input;
    RankLayout layout({.pipeline = {.stages = stages}}, stages);
    input.axes = {{.name = "data", .groups = layout.gradient_groups()},
                  {.name = "pipeline", .groups = layout.pipelines()},
                  {.name = "pipeline", .groups = layout.pipelines()}};
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      const double slow = slowness.empty() ? 1 : slowness[static_cast<std::size_t>(stage)];
      ReplicaWork replica;
      replica.samples.assign(static_cast<std::size_t>(micro_batches), 1);
      replica.pipeline = StageWork{.stage = stage,
                                   .stages = stages,
                                   .schedule = schedule,
                                   .forward_axis = 1,
                                   .backward_axis = 2,
                                   .bytes_per_sample = message_bytes};
      const Seconds forward = to_seconds(kForward) * slow / static_cast<double>(chunks);
      const Seconds backward = to_seconds(kBackward) * slow / static_cast<double>(chunks);
      replica.chunks.assign(
          static_cast<std::size_t>(chunks),
          ChunkWork{.forward = std::vector(static_cast<std::size_t>(micro_batches), forward),
                    .backward = std::vector(static_cast<std::size_t>(micro_batches), backward),
                    .forward_calls = {},
                    .backward_calls = {}});
      ClassWork work{.replica = replica};
      work.micro_batches.resize(static_cast<std::size_t>(micro_batches));
      input.classes.push_back(work);
      input.class_of.push_back(static_cast<std::uint32_t>(stage));
    }
    StepProgram made = ddp_program(input, {});
    check_program(made);
    return made;
  }

  [[nodiscard]] Network network() const {
    return Network(testing::star(stages, BytesPerSecond(1e9), Seconds(0)));
  }

  /// The step by events, which everything else must equal.
  [[nodiscard]] Tick step(bool by_classes = false) const {
    const StepProgram made = program();
    const Network wires = network();
    std::vector<std::int64_t> ranks;
    for (std::int64_t rank = 0; rank < stages; ++rank) {
      ranks.push_back(rank);
    }
    const auto group = std::make_shared<const Communicator>(wires, ranks);
    const OperationTicks ticks(made);
    std::vector<Tick> ends(ranks.size());
    if (by_classes) {
      const auto level = ClassLevel::make(made, ProgramGroups(group, made));
      EXPECT_TRUE(level);
      level->executor()->run(ticks, std::vector<Tick>(ranks.size()), {}, ends);
    } else {
      StepExecutor executor(group, made);
      executor.run_events(ticks, std::vector<Tick>(ranks.size()), ends);
    }
    return *std::ranges::max_element(ends);
  }
};

// Equal stages on a free network: the last micro-batch enters after m - 1 others and passes p
// stages, forward and backward: (m + p - 1)(F + B).
TEST(Pipeline, EqualStagesTakeMPlusPMinusOne) {
  for (const auto schedule : {PipelineSchedule::kGpipe, PipelineSchedule::k1F1B}) {
    for (const std::int64_t stages : {2, 3, 4, 8}) {
      for (const std::int64_t batches : {1, 2, 4, 8, 13}) {
        const Pipeline pipeline{.stages = stages, .micro_batches = batches, .schedule = schedule};
        const Tick expected = (batches + stages - 1) * (kForward + kBackward);
        EXPECT_EQ(pipeline.step(), expected) << stages << " stages, " << batches;
        EXPECT_EQ(pipeline.step(true), expected) << stages << " stages, " << batches;
      }
    }
  }
}

// With v chunks the pipeline fills and drains in a v-th of the time: m (F + B) (1 + (p - 1) / (m
// v)).
TEST(Pipeline, ChunksDivideTheBubble) {
  for (const std::int64_t stages : {2, 4}) {
    for (const std::int64_t chunks : {2, 4}) {
      for (const std::int64_t rounds : {1, 2, 4}) {
        const Pipeline pipeline{.stages = stages,
                                .micro_batches = stages * rounds,
                                .schedule = PipelineSchedule::kInterleaved,
                                .chunks = chunks};
        const Tick expected = stages * rounds * (kForward + kBackward) +
                              (stages - 1) * (kForward + kBackward) / chunks;
        EXPECT_EQ(pipeline.step(), expected) << stages << ' ' << chunks << ' ' << rounds;
        EXPECT_EQ(pipeline.step(true), expected);
      }
    }
  }
}

// A stage of half the speed in the middle of three. The first micro-batch reaches it after F = 10;
// it goes forward twice, 40, while the last stage does both of the first one, 30 behind 20, and
// waits for the other 10. Then it never waits again: 6 x 60 of its own work, and B = 20 of the
// first stage behind it.
TEST(Pipeline, TheSlowestStageSetsThePace) {
  const Pipeline pipeline{.stages = 3, .micro_batches = 6, .slowness = {1, 2, 1}};
  EXPECT_EQ(pipeline.step(), (10 + 10 + 6 * 60 + 20) * kMs);
}

// Every stage sends each micro-batch on and its gradient back; the ends do one of both. Interleaved
// ones send v times as often, but for what begins and ends on the pipeline's ends.
TEST(Pipeline, SendsWhatCrossesStages) {
  const auto sends = [](const StepProgram& program, std::size_t of) {
    return std::ranges::count_if(program.classes[of].operations, [](const Operation& operation) {
      return operation.transfer() != nullptr &&
             operation.transfer()->direction == Transfer::Direction::kSend;
    });
  };
  const StepProgram plain = Pipeline{.message_bytes = 1000}.program();
  EXPECT_EQ(sends(plain, 0), 8);
  EXPECT_EQ(sends(plain, 1), 16);
  EXPECT_EQ(sends(plain, 3), 8);
  const StepProgram chunks =
      Pipeline{.schedule = PipelineSchedule::kInterleaved, .chunks = 2, .message_bytes = 1000}
          .program();
  EXPECT_EQ(sends(chunks, 0), 24);  // forward of both chunks, backward of the second alone
  EXPECT_EQ(sends(chunks, 1), 32);
  EXPECT_EQ(sends(chunks, 3), 24);
}

// One micro-batch, two stages, messages of 1 ms: forward, send, forward, backward, send, backward.
TEST(Pipeline, MessagesAreExposed) {
  const Pipeline pipeline{.stages = 2, .micro_batches = 1, .message_bytes = 1e6};
  EXPECT_EQ(pipeline.step(), 2 * (kForward + kBackward) + 2 * kMs);
}

VitSpec small() {
  return {.layers = 3, .width = 64, .heads = 4, .mlp = 256, .patch = 16, .image_size = 64};
}

std::size_t count(const std::vector<PassCall>& calls, PassCall::What what) {
  return static_cast<std::size_t>(std::ranges::count(calls, what, &PassCall::what));
}

// 17 tokens of width 64 in fp32: two AllReduces of 17 x 64 x 4 bytes a sample in each pass of each
// block.
TEST(TensorParallel, TwoAllReducesPerBlockAndPass) {
  ModelPart part(small());
  part.tensor = 2;
  ChunkWork chunk;
  place_calls(part, tensor_calls(part, Precision::kFp32, 1), chunk);
  EXPECT_EQ(chunk.forward_calls.size(), 6U);
  EXPECT_EQ(chunk.backward_calls.size(), 6U);
  for (const PassCall& call : chunk.forward_calls) {
    EXPECT_EQ(call.kind, CollectiveKind::kAllReduce);
    EXPECT_EQ(call.bytes_per_sample, 17 * 64 * 4);
  }
  EXPECT_TRUE(std::ranges::is_sorted(chunk.forward_calls, {}, &PassCall::at));
  EXPECT_TRUE(std::ranges::is_sorted(chunk.backward_calls, {}, &PassCall::at));
}

// 17 tokens are padded to 18. Forward gathers and scatters twice; backward as well, and once more
// beside the weights' gradients.
TEST(TensorParallel, SplitNormsGatherAndScatter) {
  ModelPart part(small());
  part.tensor = 2;
  part.norms_split = true;
  ChunkWork chunk;
  place_calls(part, tensor_calls(part, Precision::kFp32, 1), chunk);
  EXPECT_EQ(count(chunk.forward_calls, PassCall::What::kCollective), 12U);
  EXPECT_EQ(count(chunk.backward_calls, PassCall::What::kCollective), 12U);
  EXPECT_EQ(count(chunk.backward_calls, PassCall::What::kBeside), 3U);
  EXPECT_EQ(chunk.forward_calls.front().bytes_per_sample, 18 * 64 * 4);
}

// Blocks that go forward again in backward call what forward does again.
TEST(TensorParallel, RecomputationRepeatsTheCalls) {
  ModelPart part(small());
  part.tensor = 2;
  part.recompute = Recompute::kBlock;
  ChunkWork chunk;
  place_calls(part, tensor_calls(part, Precision::kFp32, 1), chunk);
  EXPECT_EQ(chunk.forward_calls.size(), 6U);
  EXPECT_EQ(chunk.backward_calls.size(), 12U);
}

// 17 tokens padded to 20 among 4: each AllToAll carries 5 x 64 elements of a rank.
TEST(SequenceParallel, UlyssesExchangesFourTimesAPass) {
  ModelPart part(small());
  part.sequence = 4;
  const BlockCalls calls = sequence_calls(part, SequenceKind::kUlysses, Precision::kFp32, 1);
  EXPECT_EQ(count(calls.forward, PassCall::What::kCollective), 4U);
  EXPECT_EQ(count(calls.backward, PassCall::What::kCollective), 4U);
  EXPECT_EQ(calls.forward.front().kind, CollectiveKind::kAllToAll);
  EXPECT_EQ(calls.forward.front().bytes_per_sample, 5 * 64 * 4);
}

// Keys and values of a rank's tokens go around 3 times, with their gradients 6 times.
TEST(SequenceParallel, RingAttentionGoesAround) {
  ModelPart part(small());
  part.sequence = 4;
  const BlockCalls calls = sequence_calls(part, SequenceKind::kRing, Precision::kFp32, 1);
  EXPECT_EQ(count(calls.forward, PassCall::What::kRingStep), 3U);
  EXPECT_EQ(count(calls.backward, PassCall::What::kRingStep), 6U);
  EXPECT_EQ(calls.forward.front().bytes_per_sample, 2 * 5 * 64 * 4);
}

/// Two ranks that share the passes of one model, 30 ms in all.
Tick shared_step(const std::vector<PassCall>& forward, bool by_classes) {
  StepInput input;
  input.axes = {{.name = "data", .groups = {{0}, {1}}}, {.name = "inner", .groups = {{0, 1}}}};
  input.axis_algorithm = [](std::uint32_t, CollectiveKind, std::int64_t) {
    return Algorithm::kRing;
  };
  ReplicaWork replica;
  replica.samples = {1};
  replica.chunks = {ChunkWork{.forward = {to_seconds(kForward)},
                              .backward = {to_seconds(kBackward)},
                              .forward_calls = forward,
                              .backward_calls = {}}};
  ClassWork work{.replica = replica};
  work.micro_batches.resize(1);
  input.classes = {work};
  input.class_of = {0, 0};
  const StepProgram program = ddp_program(input, {});
  check_program(program);
  const Network wires(testing::star(2, BytesPerSecond(1e9), Seconds(0)));
  const auto group = std::make_shared<const Communicator>(wires, std::vector<std::int64_t>{0, 1});
  const OperationTicks ticks(program);
  std::vector<Tick> ends(2);
  if (by_classes) {
    const auto level = ClassLevel::make(program, ProgramGroups(group, program));
    ends.resize(1);
    level->executor()->run(ticks, std::vector<Tick>(1), {}, ends);
  } else {
    StepExecutor executor(group, program);
    executor.run_events(ticks, std::vector<Tick>(2), ends);
  }
  return ends.front();
}

// AllReduces of 4 MB among two at 1 GB/s take 4 ms each, and nothing hides them.
TEST(Replica, ComputeWaitsForCollectives) {
  const std::vector<PassCall> calls = {{.at = 0.5, .axis = 1, .bytes_per_sample = 4e6},
                                       {.at = 1, .axis = 1, .bytes_per_sample = 4e6}};
  for (const bool by_classes : {false, true}) {
    EXPECT_EQ(shared_step(calls, by_classes), kForward + kBackward + 8 * kMs);
  }
}

// A message of 3 ms beside the second half of 5 ms costs nothing, one of 7 ms costs 2.
TEST(Replica, RingStepsHideBesideAttention) {
  for (const bool by_classes : {false, true}) {
    for (const auto& [bytes, more] : {std::pair(3e6, 0 * kMs), std::pair(7e6, 2 * kMs)}) {
      const std::vector<PassCall> calls = {
          {.at = 0.5, .what = PassCall::What::kRingStep, .axis = 1, .bytes_per_sample = bytes},
          {.at = 1, .what = PassCall::What::kWait}};
      EXPECT_EQ(shared_step(calls, by_classes), kForward + kBackward + more);
    }
  }
}

// A builder that writes its micro-batches itself gets each one's calls: 1 and 3 samples of 10
// bytes, forward and backward.
TEST(Replica, EveryMicroBatchBringsItsOwnCalls) {
  StepInput input;
  input.axis_algorithm = [](std::uint32_t, CollectiveKind, std::int64_t) {
    return Algorithm::kRing;
  };
  ReplicaWork replica;
  replica.samples = {1, 3};
  const std::vector<PassCall> calls = {{.at = 0.5, .axis = 1, .bytes_per_sample = 10}};
  replica.chunks = {
      ChunkWork{.forward = {}, .backward = {}, .forward_calls = calls, .backward_calls = calls}};
  const ClassWork work{.replica = replica};
  ProgramWriter writer(work, input);
  for (int batch = 0; batch < 2; ++batch) {
    writer.forward({.forward = to_seconds(kForward)});
    writer.compute(Phase::kBackward, {.seconds = to_seconds(kBackward), .to = 0.25});
    writer.compute(Phase::kBackward, {.seconds = to_seconds(kBackward), .from = 0.25});
  }
  std::vector<std::int64_t> sizes;
  for (const Operation& operation : writer.finish().operations) {
    if (operation.collective() != nullptr) {
      sizes.push_back(operation.collective()->bytes);
    }
  }
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{10, 10, 30, 30}));
}

}  // namespace
}  // namespace vitsim
