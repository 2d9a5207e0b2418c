#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "models/experiment/rank_layout.h"
#include "sim/step/builder.h"
#include "sim/step/class_level.h"
#include "sim/step/step_executor.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

/// Replicas of pipelines of two stages, on machines of their own, with any times and messages. A
/// stage's stream sends one message after the other, so that no link ever carries two.
class RandomPipelines {
 public:
  explicit RandomPipelines(std::uint64_t seed) : random_(seed) {
    replicas_ = random_.between(1, 3);
    chunks_ = random_.between(1, 3);
    batches_ = 2 * random_.between(1, 5);
    const std::int64_t kind = random_.between(0, 2);
    schedule_ = chunks_ > 1 ? PipelineSchedule::kInterleaved : static_cast<PipelineSchedule>(kind);
  }

  StepProgram program() {
    const RankLayout layout({.pipeline = {.stages = 2}}, 2 * replicas_);
    StepInput input;
    input.axes = {{.name = "data", .groups = layout.gradient_groups()},
                  {.name = "pipeline", .groups = layout.pipelines()},
                  {.name = "pipeline", .groups = layout.pipelines()}};
    const double message = static_cast<double>(random_.between(0, 3'000'000));
    for (std::int64_t stage = 0; stage < 2; ++stage) {
      ReplicaWork replica;
      replica.pipeline = StageWork{.stage = stage,
                                   .stages = 2,
                                   .schedule = schedule_,
                                   .forward_axis = 1,
                                   .backward_axis = 2,
                                   .bytes_per_sample = message};
      replica.samples.assign(static_cast<std::size_t>(batches_), 1);
      for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
        ChunkWork& mine = replica.chunks.emplace_back();
        for (std::int64_t batch = 0; batch < batches_; ++batch) {
          mine.forward.push_back(milliseconds(static_cast<double>(random_.between(0, 5))));
          mine.backward.push_back(milliseconds(static_cast<double>(random_.between(0, 9))));
        }
      }
      ClassWork work{.optimizer = milliseconds(1), .replica = replica};
      work.micro_batches.resize(static_cast<std::size_t>(batches_));
      input.classes.push_back(work);
    }
    for (std::int64_t rank = 0; rank < 2 * replicas_; ++rank) {
      input.class_of.push_back(static_cast<std::uint32_t>(layout.place(rank).stage));
    }
    StepProgram made = ddp_program(input, {});
    check_program(made);
    return made;
  }

  [[nodiscard]] std::int64_t ranks() const { return 2 * replicas_; }

 private:
  RandomCluster random_;
  std::int64_t replicas_ = 1;
  std::int64_t chunks_ = 1;
  std::int64_t batches_ = 2;
  PipelineSchedule schedule_ = PipelineSchedule::k1F1B;
};

TEST(PipelineProperty, ClassesArraysAndEventsAgreeToTheTick) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    RandomPipelines random(seed);
    const StepProgram program = random.program();
    const Network wires(testing::star(random.ranks(), BytesPerSecond(1e9), microseconds(3)));
    std::vector<std::int64_t> ranks;
    for (std::int64_t rank = 0; rank < random.ranks(); ++rank) {
      ranks.push_back(rank);
    }
    const auto group = std::make_shared<const Communicator>(wires, ranks);
    const OperationTicks ticks(program);
    const std::vector<Tick> starts(ranks.size());
    std::vector<Tick> by_events(ranks.size());
    std::vector<Tick> by_arrays(ranks.size());
    StepExecutor executor(group, program);
    EXPECT_TRUE(executor.by_arrays());
    executor.run_events(ticks, starts, by_events);
    executor.run(ticks, starts, by_arrays);
    EXPECT_EQ(by_arrays, by_events) << "seed " << seed;
    const auto level = ClassLevel::make(program, ProgramGroups(group, program));
    ASSERT_TRUE(level);
    const OperationTicks class_ticks(level->program());
    std::vector<Tick> by_classes(2);
    level->executor()->run(class_ticks, std::vector<Tick>(2), {}, by_classes);
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      EXPECT_EQ(by_classes[program.class_of[rank]], by_events[rank]) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace vitsim
