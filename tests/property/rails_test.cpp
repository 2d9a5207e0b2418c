// Nodes with several NICs.
#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/collective/tree.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

NetworkData with_nics(NetworkData data, std::int64_t nics) {
  for (NodeData& node : data.nodes) {
    node.nics = nics;
  }
  return data;
}

NetworkData without_curves(NetworkData data) {
  for (NodeData& node : data.nodes) {
    node.nic->curve = nullptr;
    node.intra_node.curve = nullptr;
  }
  for (TrunkData& trunk : data.trunks) {
    trunk.link.curve = nullptr;
  }
  return data;
}

TEST(RailsProperty, ArraysEqualEvents) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    RandomCluster random(seed);
    const std::int64_t nics = random.between(2, 4);
    const Network network(
        with_nics(random.cluster(random.between(2, 6), random.chance(0.6) ? 4 : 0), nics));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    const auto kind = static_cast<CollectiveKind>(random.between(0, 2));
    const std::int64_t bytes = random.between(1, 50'000'000);
    const AllReduceAlgorithm word =
        random.chance(0.5) ? AllReduceAlgorithm::kRing : AllReduceAlgorithm::kHierarchical;
    const Algorithm algorithm = group.resolve(word, kind, bytes);
    auto arrays = group.arrays(kind, algorithm, bytes);
    if (!arrays) {
      continue;
    }
    ++compared;
    const std::vector<Tick> starts = random.starts(group.size());
    std::vector<Tick> ends(starts.size());
    arrays->run(starts, ends);
    ASSERT_EQ(ends, group.run_events(kind, algorithm, bytes, starts))
        << "seed " << seed << ", " << nics << " NICs, " << name(algorithm);
  }
  EXPECT_GT(compared, 200);
}

// A ring over n NICs is n rings of an n-th of the bytes, each over one NIC of every node, that
// share the ways inside the nodes and the trunks.
TEST(RailsProperty, NNicsAreNRings) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomCluster random(seed);
    const std::int64_t nics = random.between(2, 4);
    const NetworkData several = without_curves(random.cluster(random.between(2, 6)));
    NetworkData one = several;
    const auto n = static_cast<double>(nics);
    for (NodeData& node : one.nodes) {
      node.intra_node.bandwidth = node.intra_node.bandwidth / n;
    }
    for (TrunkData& trunk : one.trunks) {
      trunk.link.bandwidth = trunk.link.bandwidth / n;
    }
    const Network railed(with_nics(several, nics));
    const Network plain(one);
    const Communicator group(railed, testing::all_ranks(railed.world_size()));
    const Communicator single(plain, testing::all_ranks(plain.world_size()));
    const std::int64_t bytes = nics * random.between(1, 20'000'000);
    const std::vector<Tick> starts = random.starts(group.size());
    ASSERT_EQ(group.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, bytes, starts),
              single.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, bytes / nics, starts))
        << "seed " << seed;
  }
}

// Two nodes of four GPUs with four NICs of 1 GB/s, everything else free: 8,000,000 B by
// hierarchical are a ring of 2,000,000 B on each NIC, one hop of 1,000,000 B there and one back.
TEST(RailsProperty, HierarchicalHasANicForEachGpu) {
  NetworkData data;
  for (const char* name : {"a", "b"}) {
    data.nodes.push_back({.name = name,
                          .gpus = 4,
                          .nic = LinkData{.bandwidth = BytesPerSecond(1e9)},
                          .intra_node = {.bandwidth = BytesPerSecond(1e15)},
                          .nics = 4});
  }
  const Network network(data);
  const Communicator group(network, testing::all_ranks(8));
  const std::vector<Tick> starts(8);
  const Tick end =
      group.run(CollectiveKind::kAllReduce, Algorithm::kHierarchical, 8'000'000, starts).front();
  EXPECT_NEAR(to_seconds(end).value(), 2e-3, 1e-6);
}

// With k NICs tree moves k times as much between the nodes at once.
TEST(RailsProperty, TreesUseEveryNic) {
  const auto time = [](std::int64_t nics) {
    NetworkData data;
    for (const char* name : {"a", "b", "c"}) {
      data.nodes.push_back({.name = name,
                            .gpus = 4,
                            .nic = LinkData{.bandwidth = BytesPerSecond(1e9)},
                            .intra_node = {.bandwidth = BytesPerSecond(1e12)},
                            .nics = nics});
    }
    const Network network(data);
    const Communicator group(network, testing::all_ranks(12));
    const std::vector<Tick> starts(12);
    return static_cast<double>(
        group.run(CollectiveKind::kAllReduce, Algorithm::kTree, 512'000'000, starts).front());
  };
  EXPECT_NEAR(time(1) / time(4), 4, 0.2);
}

}  // namespace
}  // namespace vitsim
