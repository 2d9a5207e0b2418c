#include <algorithm>
#include <bit>
#include <string>

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
    if (random.chance(0.1)) {
      // As long as the clock allows: nothing may overflow on the way.
      const auto steps = 2 * (static_cast<Tick>(n) - 1);
      const Tick end = limit + steps * 1'000'000;
      for (std::vector<Tick>* times : {&hop, &starts}) {
        for (Tick& time : *times) {
          time *= kLatestTick / end;
        }
      }
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
      const auto [first, last] = std::minmax_element(ring.starts.begin(), ring.starts.end());
      const Tick largest = *std::max_element(ring.hop.begin(), ring.hop.end());
      if (laps == 2 && ring_paths_fit(*last - *first, largest, n)) {
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

// The same of ranks with shards of any size, also of none.
TEST(CollectiveProperty, UnevenArraysEqualEvents) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(1, 8), random.chance(0.6) ? 2 : 0));
    std::vector<double> shares(static_cast<std::size_t>(network.world_size()));
    double sum = 0;
    for (double& share : shares) {
      share = random.chance(0.2) ? 0 : static_cast<double>(random.between(1, 1000));
      sum += share;
    }
    if (sum == 0) {
      continue;
    }
    for (double& share : shares) {
      share /= sum;
    }
    const Communicator group(network, testing::all_ranks(network.world_size()), shares);
    const CollectiveKind kind =
        random.chance(0.5) ? CollectiveKind::kAllGather : CollectiveKind::kReduceScatter;
    const std::int64_t bytes = random.between(1, 50'000'000);
    auto arrays = group.arrays(kind, Algorithm::kRing, bytes);
    if (!arrays) {
      continue;
    }
    ++compared;
    const std::vector<Tick> starts = random.starts(group.size());
    std::vector<Tick> ends(starts.size());
    arrays->run(starts, ends);
    ASSERT_EQ(ends, group.run_events(kind, Algorithm::kRing, bytes, starts)) << "seed " << seed;
  }
  EXPECT_GT(compared, 200);
}

// Stage by stage, as far as the starts allow, equals the event level. Nodes of a power of two ranks
// share their NIC in step; equal starts on equal machines must always be answered.
TEST(CollectiveProperty, StagesEqualEvents) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 2500; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const std::int64_t nodes =
        random.chance(0.5) ? 1 << random.between(0, 4) : random.between(2, 12);
    const bool equal = random.chance(0.4);
    NetworkData data = random.cluster(nodes, 1 << random.between(0, 3));
    if (equal) {
      data.switches.clear();
      data.trunks.clear();
      for (NodeData& node : data.nodes) {
        node = data.nodes[0];
        node.switch_name.clear();
      }
      for (std::size_t i = 0; i < data.nodes.size(); ++i) {
        data.nodes[i].name = std::to_string(i);
      }
    }
    const Network network(data);
    const Communicator group(network, testing::all_ranks(network.world_size()));
    const std::int64_t bytes = random.between(1, random.chance(0.3) ? 2'000'000'000 : 5'000'000);
    const bool together = random.chance(0.5);
    const std::vector<Tick> starts =
        together ? std::vector<Tick>(group.size(), 17) : random.starts(group.size());
    const Algorithm algorithm =
        random.chance(0.5) ? Algorithm::kHalvingDoubling : Algorithm::kRecursiveDoubling;
    const auto ends = group.run_stages(CollectiveKind::kAllReduce, algorithm, bytes, starts);
    if (equal && together && std::has_single_bit(group.size())) {
      EXPECT_TRUE(ends);
    }
    if (ends) {
      ++compared;
      ASSERT_EQ(*ends, group.run_events(CollectiveKind::kAllReduce, algorithm, bytes, starts));
    }
  }
  EXPECT_GT(compared, 500);
}

}  // namespace
}  // namespace vitsim
