#include "sim/step/program.h"

#include <algorithm>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "sim/step/accounting.h"
#include "sim/step/step_executor.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;
using testing::RandomCluster;

/// Programs that no way to train would make, but that follow the rules.
class RandomProgram {
 public:
  RandomProgram(RandomCluster& random, std::size_t positions)
      : random_(random), positions_(positions) {}

  /// All ranks join the same collectives; what they compute between them is their own.
  StepProgram of_collectives() {
    StepProgram program{.axes = {{}}};
    program.collective_overhead = random_.chance(0.5) ? 0 : random_.between(1, 40'000'000);
    std::vector<Collective> calls;
    for (std::int64_t k = random_.between(0, 5); k > 0; --k) {
      calls.push_back({.kind = static_cast<CollectiveKind>(random_.between(0, 2)),
                       .bytes = random_.between(0, 3'000'000)});
    }
    const std::int64_t classes =
        random_.between(1, std::min<std::int64_t>(3, static_cast<std::int64_t>(positions_)));
    slows_ = random_.chance(0.5);
    for (std::int64_t k = 0; k < classes; ++k) {
      begin_class();
      for (const Collective& call : calls) {
        add_compute();
        add({.stream = Stream::kCommunication,
             .phase = Phase::kGradientAllReduce,
             .what = call,
             .after = before_communication()});
      }
      add_compute();
      end_class(program);
    }
    for (std::size_t i = 0; i < positions_; ++i) {
      program.class_of.push_back(static_cast<std::uint32_t>(random_.between(0, classes - 1)));
    }
    return program;
  }

  /// Messages down a chain of ranks and back up.
  StepProgram of_transfers() {
    StepProgram program{.axes = {{.name = "chain"}}};
    const std::int64_t messages = random_.between(1, 4);
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(messages));
    for (std::int64_t& each : bytes) {
      each = random_.between(1, 2'000'000);
    }
    slows_ = random_.chance(0.5);
    const auto transfer = [&](Transfer::Direction direction, std::int64_t size, int distance) {
      add({.stream = Stream::kCommunication,
           .phase = Phase::kOther,
           .what = Transfer{.direction = direction, .bytes = size, .distance = distance},
           .after = before_communication()});
    };
    for (std::uint32_t i = 0; i < positions_; ++i) {
      begin_class();
      for (const std::int64_t size : bytes) {
        if (i > 0) {
          transfer(Transfer::Direction::kReceive, size, -1);
        }
        add_compute();
        if (i + 1 < positions_) {
          transfer(Transfer::Direction::kSend, size, 1);
        }
      }
      for (const std::int64_t size : bytes) {
        if (i + 1 < positions_) {
          transfer(Transfer::Direction::kReceive, size, 1);
        }
        add_compute();
        if (i > 0) {
          transfer(Transfer::Direction::kSend, size, -1);
        }
      }
      end_class(program);
      program.class_of.push_back(i);
    }
    return program;
  }

 private:
  void begin_class() {
    operations_.clear();
    last_compute_ = 0;
  }

  void end_class(StepProgram& program) {
    add({.stream = Stream::kCompute, .phase = Phase::kOptimizer, .what = Compute{}});
    program.classes.push_back({.operations = operations_,
                               .update = static_cast<std::uint32_t>(operations_.size() - 1),
                               .slowdown = random_.chance(0.5) ? 1 : 1.25});
  }

  void add(Operation operation) {
    if (operation.stream == Stream::kCompute) {
      last_compute_ = static_cast<std::uint32_t>(operations_.size());
    }
    operations_.push_back(std::move(operation));
  }

  std::vector<std::uint32_t> some_before() {
    std::vector<std::uint32_t> before;
    for (std::uint32_t i = 0; i < operations_.size(); ++i) {
      if (random_.chance(0.2)) {
        before.push_back(i);
      }
    }
    return before;
  }

  // Communication that slows compute must not begin in the midst of it for another's sake.
  std::vector<std::uint32_t> before_communication() {
    std::vector<std::uint32_t> before;
    if (!slows_) {
      before = some_before();
    }
    if (!operations_.empty() && (slows_ || random_.chance(0.7))) {
      before.push_back(last_compute_);
    }
    return before;
  }

  void add_compute() {
    for (std::int64_t k = random_.between(0, 3); k > 0; --k) {
      const bool on_compute = random_.chance(0.7);
      Compute compute{.seconds = to_seconds(random_.between(0, 4'000'000'000)),
                      .parts = static_cast<double>(random_.between(1, 3)),
                      .on_gpu = on_compute || random_.chance(0.5)};
      if (random_.chance(0.3)) {
        compute.from = 0.25;
        compute.to = 0.75;
      }
      if (slows_ && on_compute && random_.chance(0.7)) {
        compute.overlap_slowdown = 1 + static_cast<double>(random_.between(1, 40)) / 100;
      }
      add({.stream = on_compute            ? Stream::kCompute
                     : random_.chance(0.5) ? Stream::kLoader
                                           : Stream::kCopy,
           .phase = Phase::kForward,
           .what = compute,
           .after = some_before()});
    }
  }

  RandomCluster& random_;
  std::size_t positions_;
  std::vector<Operation> operations_;
  std::uint32_t last_compute_ = 0;
  bool slows_ = false;
};

void expect_executors_agree(RandomCluster& random,
                            const Network& network,
                            const StepProgram& program,
                            int& by_arrays) {
  const auto group = std::make_shared<const Communicator>(
      network, testing::all_ranks(static_cast<std::int64_t>(program.positions())));
  StepExecutor executor(group, program);
  if (!executor.by_arrays()) {
    return;
  }
  ++by_arrays;
  for (std::size_t i = 0; random.chance(0.5) && i < program.positions(); ++i) {
    const Tick from = random.between(0, 10'000'000'000);
    executor.set_speed(i,
                       {{.from = from,
                         .to = from + random.between(0, 5'000'000'000),
                         .factor = static_cast<double>(random.between(50, 300)) / 100}});
  }
  const OperationTicks ticks(program);
  const std::vector<Tick> starts = random.starts(program.positions());
  StepTimes fast = executor.make_times();
  StepTimes slow = executor.make_times();
  std::vector<Tick> fast_ends(starts.size());
  std::vector<Tick> slow_ends(starts.size());
  executor.run(ticks, starts, fast_ends, &fast);
  executor.run_events(ticks, starts, slow_ends, &slow);
  EXPECT_EQ(fast_ends, slow_ends);
  for (std::size_t i = 0; i < program.positions(); ++i) {
    for (std::size_t k = 0; k < program.of(i).operations.size(); ++k) {
      ASSERT_EQ(fast.begins(k)[i], slow.begins(k)[i])
          << "position " << i << ": " << describe(program.of(i).operations[k], k);
      ASSERT_EQ(fast.ends(k)[i], slow.ends(k)[i])
          << "position " << i << ": " << describe(program.of(i).operations[k], k);
    }
  }
  // What a rank does and what it waits for is its step.
  const AloneTimes alone(program, executor.groups());
  for (std::uint32_t i = 0; i < program.positions(); ++i) {
    const StepAccount sums = account_rank(program, fast, alone, i, starts[i]).step;
    EXPECT_GE(sums.exposed, 0);
    EXPECT_GE(sums.wait, 0);
    EXPECT_GE(sums.idle, 0);
    EXPECT_GE(sums.compute() + sums.exposed + sums.wait + sums.idle, fast_ends[i] - starts[i]);
  }
}

TEST(ProgramProperty, ArraysEqualEventsForCollectives) {
  int by_arrays = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 6), random.chance(0.5) ? 1 : 0));
    RandomProgram maker(random, static_cast<std::size_t>(network.world_size()));
    const StepProgram program = maker.of_collectives();
    check_program(program);
    expect_executors_agree(random, network, program, by_arrays);
  }
  EXPECT_GT(by_arrays, 150);
}

TEST(ProgramProperty, ArraysEqualEventsForTransfers) {
  int by_arrays = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(
        testing::star(random.between(2, 5), BytesPerSecond(1.25e9), microseconds(20)));
    RandomProgram maker(random, static_cast<std::size_t>(network.world_size()));
    const StepProgram program = maker.of_transfers();
    check_program(program);
    expect_executors_agree(random, network, program, by_arrays);
  }
  EXPECT_GT(by_arrays, 60);
}

/// Two ranks, an AllReduce behind a forward pass.
StepProgram small_program() {
  StepProgram program{.class_of = {0, 0}, .axes = {{}}};
  program.classes.push_back(
      {.operations = {{.phase = Phase::kForward, .what = Compute{.seconds = milliseconds(1)}},
                      {.stream = Stream::kCommunication,
                       .phase = Phase::kGradientAllReduce,
                       .what = Collective{.bytes = 8},
                       .after = {0}},
                      {.phase = Phase::kOptimizer, .what = Compute{}, .after = {1}}},
       .update = 2});
  return program;
}

std::string complaint(const StepProgram& program) {
  try {
    check_program(program);
  } catch (const InternalError& error) {
    return error.what();
  }
  return "nothing";
}

TEST(Program, SaysWhichOperationsMakeNoSense) {
  EXPECT_EQ(complaint(small_program()), "nothing");
  StepProgram cycle = small_program();
  cycle.classes[0].operations[0].after = {2};
  EXPECT_THAT(complaint(cycle),
              HasSubstr("operation 0 (forward on compute) waits for operation 2 (optimizer on "
                        "compute), which does not stand before it: a cycle"));
  StepProgram twice = small_program();
  twice.axes[0].groups = {{0, 1}, {1}};
  EXPECT_THAT(complaint(twice), HasSubstr("position 1 joins groups 0 and 1"));
  StepProgram alone = small_program();
  alone.axes[0].groups = {{0}};
  EXPECT_THAT(complaint(alone), HasSubstr("position 1 is in no group"));
  StepProgram no_stream = small_program();
  no_stream.classes[0].operations[1].stream = static_cast<Stream>(9);
  EXPECT_THAT(complaint(no_stream),
              HasSubstr("operation 1 (gradient_all_reduce: all-reduce of 8 "
                        "bytes on no stream) has no stream"));
  StepProgram unlike = small_program();
  unlike.classes.push_back(unlike.classes[0]);
  unlike.classes[1].operations[1].what = Collective{.bytes = 16};
  unlike.class_of = {0, 1};
  EXPECT_THAT(complaint(unlike), HasSubstr("positions 0 and 1 of one group"));
  StepProgram no_axis = small_program();
  no_axis.axes.clear();
  EXPECT_THAT(complaint(no_axis), HasSubstr("communicates on axis 0, of which there are 0"));
}

// Each of two ranks first waits for the other's message.
TEST(Program, ADeadlockNamesRanksAndOperations) {
  const Network network(testing::star(2, BytesPerSecond(1e9), Seconds(0)));
  StepProgram program{.axes = {{.name = "chain"}}};
  for (const int other : {1, -1}) {
    const auto transfer = [&](Transfer::Direction direction) {
      return Operation{.stream = Stream::kCommunication,
                       .phase = Phase::kOther,
                       .what = Transfer{.direction = direction, .bytes = 8, .distance = other}};
    };
    program.class_of.push_back(static_cast<std::uint32_t>(program.classes.size()));
    program.classes.push_back(
        {.operations = {transfer(Transfer::Direction::kReceive),
                        transfer(Transfer::Direction::kSend),
                        {.phase = Phase::kOptimizer, .what = Compute{}, .after = {1}}},
         .update = 2});
  }
  const auto group = std::make_shared<const Communicator>(network, testing::all_ranks(2));
  StepExecutor executor(group, program);
  const OperationTicks ticks(program);
  std::vector<Tick> ends(2);
  const std::vector<Tick> starts(2);
  const auto message = [&](auto run) -> std::string {
    try {
      run();
    } catch (const InternalError& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(message([&] { executor.run_events(ticks, starts, ends); }),
              HasSubstr("rank 1 in step 0: operation 0 (other: receives 8 bytes from -1 on "
                        "communication) waits for the others"));
  EXPECT_THAT(message([&] { executor.run(ticks, starts, ends); }),
              HasSubstr("positions 1 wait in operation 0 (other: receives 8 bytes"));
}

}  // namespace
}  // namespace vitsim
