#include <algorithm>
#include <deque>

#include <gtest/gtest.h>

#include "sim/step/step_executor.h"
#include "tests/support/planned_step.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::MicroBatchTicks;
using testing::PlannedStep;
using testing::RandomCluster;
using testing::RankTicks;
using testing::StepOutcome;
using testing::SyncPlan;

/// Random work that keeps its micro-batches alive.
struct Work {
  std::deque<std::vector<MicroBatchTicks>> batches;
  std::vector<RankTicks> ranks;
};

Work random_work(RandomCluster& random, std::size_t ranks) {
  Work work;
  const bool equal = random.chance(0.3);
  for (std::size_t i = 0; i < ranks; ++i) {
    if (equal && i > 0) {
      work.ranks.push_back(work.ranks[0]);
      continue;
    }
    auto& batches = work.batches.emplace_back();
    const std::int64_t count = random.chance(0.1) ? 0 : random.between(1, 3);
    for (std::int64_t m = 0; m < count; ++m) {
      batches.push_back({.data_load = random.between(0, 1'000'000),
                         .forward = random.between(0, 3'000'000'000),
                         .backward = random.between(0, 9'000'000'000)});
    }
    work.ranks.push_back({.micro_batches = batches,
                          .optimizer = random.between(0, 100'000'000),
                          .other = random.between(0, 1) * random.between(0, 100'000'000)});
  }
  return work;
}

SyncPlan random_plan(RandomCluster& random, std::size_t ranks) {
  SyncPlan plan;
  plan.mode = static_cast<GradientSync>(random.between(0, 2));
  plan.algorithm =
      random.chance(0.7) ? AllReduceAlgorithm::kRing : AllReduceAlgorithm::kHierarchical;
  const std::int64_t buckets = random.between(1, 5);
  for (std::int64_t k = 0; k < buckets; ++k) {
    const double share =
        k + 1 == buckets ? 1.0 : static_cast<double>(k + 1) / static_cast<double>(buckets + 1);
    plan.buckets.push_back({.bytes = random.between(1, 3'000'000), .ready_share = share});
  }
  plan.collective_overhead = random.chance(0.5) ? 0 : random.between(1, 50'000'000);
  if (random.chance(0.6)) {
    for (std::size_t i = 0; i < ranks; ++i) {
      plan.overlap_slowdown.push_back(1 + static_cast<double>(random.between(0, 40)) / 100);
    }
  }
  return plan;
}

void add_slowdowns(RandomCluster& random, PlannedStep& step) {
  for (std::uint32_t i = 0; i < step.size(); ++i) {
    std::vector<SlowInterval> intervals;
    for (std::int64_t k = random.between(0, 2); k > 0; --k) {
      const Tick from = random.between(0, 20'000'000'000);
      const double factor = random.chance(0.3) ? std::numeric_limits<double>::infinity()
                                               : static_cast<double>(random.between(50, 300)) / 100;
      intervals.push_back(
          {.from = from, .to = from + random.between(0, 9'000'000'000), .factor = factor});
    }
    step.set_speed(i, intervals);
  }
}

// The array path and the pure event path agree on every rank and every collective, to the tick.
TEST(StepProperty, ArraysEqualEvents) {
  int by_arrays = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(1, 6), random.chance(0.5) ? 2 : 0));
    const auto ranks = static_cast<std::size_t>(network.world_size());
    PlannedStep step(network, testing::all_ranks(network.world_size()), random_plan(random, ranks));
    if (!step.by_arrays()) {
      continue;
    }
    ++by_arrays;
    if (random.chance(0.4)) {
      add_slowdowns(random, step);
    }
    const Work work = random_work(random, ranks);
    const std::vector<Tick> starts = random.starts(ranks);
    const StepOutcome fast = step.run(work.ranks, starts);
    const StepTimes fast_times = step.times();
    const StepOutcome slow = step.run_events(work.ranks, starts);
    EXPECT_EQ(fast.ready, slow.ready) << "seed " << seed;
    for (std::size_t i = 0; i < step.program().most_operations(); ++i) {
      EXPECT_TRUE(std::ranges::equal(fast_times.begins(i), step.times().begins(i)))
          << "seed " << seed << " operation " << i;
      EXPECT_TRUE(std::ranges::equal(fast_times.ends(i), step.times().ends(i)))
          << "seed " << seed << " operation " << i;
    }
    EXPECT_EQ(fast.end, slow.end) << "seed " << seed;
    EXPECT_EQ(fast.wait, slow.wait) << "seed " << seed;
    EXPECT_EQ(fast.exposed, slow.exposed) << "seed " << seed;
  }
  EXPECT_GT(by_arrays, 100);
}

}  // namespace
}  // namespace vitsim
