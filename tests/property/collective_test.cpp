#include <algorithm>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/collective/ring.h"
#include "sim/collective/ring_paths.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

struct RandomRing {
  explicit RandomRing(std::uint64_t seed) : random(seed) {
    const auto n = static_cast<std::size_t>(random.between(2, random.chance(0.2) ? 200 : 40));
    // Small differences make walks within a stretch of smaller hops matter, large ones do not.
    const std::int64_t least = random.chance(0.5) ? 1 : 900'000;
    kinds.resize(static_cast<std::size_t>(random.between(1, random.chance(0.5) ? 4 : 40)));
    for (Tick& kind : kinds) {
      kind = random.between(least, 1'000'000);
    }
    hop.resize(n);
    starts.resize(n);
    const std::int64_t limit = random.chance(0.2) ? 0 : random.between(0, 40'000'000);
    // Hops of one kind by turns, as in nodes of several GPUs, or at random.
    const std::int64_t turn = random.chance(0.5) ? random.between(2, 9) : 0;
    for (std::size_t i = 0; i < n; ++i) {
      hop[i] = turn != 0 && static_cast<std::int64_t>(i) % turn != 0
                   ? kinds[0]
                   : kinds[static_cast<std::size_t>(
                         random.between(0, static_cast<std::int64_t>(kinds.size()) - 1))];
      starts[i] = random.between(0, limit);
    }
  }

  RandomCluster random;
  std::vector<Tick> kinds;
  std::vector<Tick> hop;
  std::vector<Tick> starts;
};

// All ways to compute a ring, AllReduce and one lap, against the recurrence.
TEST(RingProperty, AllWaysEqualTheRecurrence) {
  std::vector<Tick> scratch;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    const RandomRing ring(seed);
    const auto n = static_cast<std::int64_t>(ring.hop.size());
    std::vector<Tick> slow(ring.hop.size());
    std::vector<Tick> fast(ring.hop.size());
    for (const std::int64_t laps : {1, 2}) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", laps " << laps);
      const std::int64_t steps = laps * (n - 1);
      ring_by_recurrence(ring.hop, steps, ring.starts, slow, scratch);
      Ring(ring.hop, steps).run(ring.starts, fast, scratch);
      ASSERT_EQ(slow, fast);
      fast = ring.starts;
      Ring(ring.hop, steps).run(fast, fast, scratch);  // in place
      ASSERT_EQ(slow, fast);
      if (laps == 2) {
        ring_all_reduce_by_paths(ring.hop, ring.starts, fast);
        ASSERT_EQ(slow, fast);
      }
    }
  }
}

// Wherever arrays claim to be exact they equal the event level, rank by rank.
TEST(CollectiveProperty, ArraysEqualEvents) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(1, 12), random.chance(0.6) ? 3 : 0));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    const auto kind = static_cast<CollectiveKind>(random.between(0, 3));
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
