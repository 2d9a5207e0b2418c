#include <algorithm>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/collective/ring.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

// N log N paths against the recurrence, on rings of few and of many kinds of hops.
TEST(RingProperty, PathsEqualRecurrence) {
  std::vector<Tick> scratch;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    RandomCluster random(seed);
    const auto n = static_cast<std::size_t>(random.between(2, 40));
    std::vector<Tick> kinds(static_cast<std::size_t>(random.between(1, 40)));
    for (Tick& kind : kinds) {
      kind = random.between(1, 1'000'000);
    }
    std::vector<Tick> hop(n);
    std::vector<Tick> starts(n);
    const std::int64_t limit = random.between(0, 40'000'000);
    for (std::size_t i = 0; i < n; ++i) {
      hop[i] = kinds[static_cast<std::size_t>(
          random.between(0, static_cast<std::int64_t>(kinds.size()) - 1))];
      starts[i] = random.between(0, limit);
    }
    std::vector<Tick> slow(n);
    std::vector<Tick> fast(n);
    const auto steps = 2 * (static_cast<std::int64_t>(n) - 1);
    ring_by_recurrence(hop, steps, starts, slow, scratch);
    ring_all_reduce_by_paths(hop, starts, fast);
    ASSERT_EQ(slow, fast) << "seed " << seed;
    ring_ends(hop, steps, starts, fast, scratch);
    ASSERT_EQ(slow, fast) << "seed " << seed;
  }
}

// Wherever arrays claim to be exact they equal the event level, rank by rank.
TEST(CollectiveProperty, ArraysEqualEvents) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(1, 12), random.chance(0.6) ? 3 : 0));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    const auto kind = static_cast<CollectiveKind>(random.between(0, 2));
    const std::int64_t bytes = random.between(1, random.chance(0.3) ? 2'000'000'000 : 50'000'000);
    const AllReduceAlgorithm word =
        random.chance(0.5) ? AllReduceAlgorithm::kRing : AllReduceAlgorithm::kHierarchical;
    const Algorithm algorithm = group.resolve(word, bytes);
    auto arrays = group.arrays(kind, algorithm, bytes);
    if (!arrays) {
      continue;
    }
    ++compared;
    const std::vector<Tick> starts = random.starts(group.size());
    std::vector<Tick> ends(starts.size());
    arrays->run(starts, ends);
    ASSERT_EQ(ends, group.run_events(kind, algorithm, bytes, starts)) << "seed " << seed;
  }
  EXPECT_GT(compared, 500);
}

}  // namespace
}  // namespace vitsim
