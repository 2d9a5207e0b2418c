#include <algorithm>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

/// A cluster as people have it: nodes alike or not, NVLink or PCIe, some NICs, with or without a
/// switch that sums.
NetworkData machines(RandomCluster& random) {
  NetworkData data;
  const std::int64_t nodes = random.chance(0.3) ? 1 : random.between(2, 20);
  const std::int64_t gpus = nodes == 1 ? random.between(2, 16) : random.between(1, 8);
  LinkData nic = random.link();
  LinkData inside = random.link();
  nic.curve = nullptr;
  inside.curve = nullptr;
  inside.bandwidth = BytesPerSecond(static_cast<double>(random.between(2, 400)) * 1e9);
  inside.latency = microseconds(static_cast<double>(random.between(0, 5)));
  inside.traits.kind = random.chance(0.5) ? LinkKind::kNvlink : LinkKind::kPcie;
  inside.traits.switch_reduces = random.chance(0.3);
  inside.traits.switch_bandwidth = inside.bandwidth * 0.75;
  const std::int64_t nics = random.between(1, 8);
  const auto accelerator = static_cast<Accelerator>(random.between(1, 4));
  for (std::int64_t i = 0; i < nodes; ++i) {
    data.nodes.push_back({.name = "node" + std::to_string(i),
                          .gpus = random.chance(0.9) ? gpus : random.between(1, 8),
                          .nic = random.chance(0.9) ? nic : random.link(),
                          .intra_node = inside,
                          .nics = nics,
                          .accelerator = accelerator});
    data.nodes.back().nic->curve = nullptr;
  }
  return data;
}

Tick time_of(const Communicator& group, CollectiveKind kind, std::int64_t bytes) {
  const std::vector<Tick> starts(group.size());
  return group.run(kind, group.resolve(AllReduceAlgorithm::kAuto, kind, bytes), bytes, starts)
      .front();
}

// Whatever is chosen: more bytes never take less time.
TEST(NcclSelectionProperty, TimeNeverFallsAsBytesGrow) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomCluster random(seed);
    const Network network(machines(random));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    if (group.size() < 2) {
      continue;
    }
    const auto kind = static_cast<CollectiveKind>(random.between(0, 4));
    Tick before = 0;
    for (double bytes = 1; bytes < 4e10; bytes *= 1.09) {
      const Tick now = time_of(group, kind, static_cast<std::int64_t>(bytes));
      ASSERT_GE(now, before) << "seed " << seed << ", " << name(kind) << " of " << bytes << " B by "
                             << name(group.resolve(AllReduceAlgorithm::kAuto,
                                                   kind,
                                                   static_cast<std::int64_t>(bytes)));
      before = now;
    }
  }
}

// From 1 MiB on nothing that NCCL may take is a fifth faster than what is chosen.
TEST(NcclSelectionProperty, TheChoiceIsNearTheBest) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomCluster random(seed);
    const Network network(machines(random));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    if (group.size() < 2) {
      continue;
    }
    const std::vector<Tick> starts(group.size());
    for (std::int64_t bytes = 1 << 20; bytes < 20'000'000'000; bytes *= 3) {
      const Tick chosen = time_of(group, CollectiveKind::kAllReduce, bytes);
      for (auto algorithm = Algorithm::kNcclRingLl; algorithm < Algorithm::kCollNet;
           algorithm = static_cast<Algorithm>(static_cast<int>(algorithm) + 1)) {
        if (group.nccl()->call(CollectiveKind::kAllReduce, algorithm, bytes)) {
          const Tick other =
              group.run(CollectiveKind::kAllReduce, algorithm, bytes, starts).front();
          ASSERT_LE(static_cast<double>(chosen), 1.2 * static_cast<double>(other))
              << "seed " << seed << ", " << bytes << " B: " << name(algorithm);
        }
      }
    }
  }
}

// A call as loads on links takes the same time event by event, to the tick.
TEST(NcclSelectionProperty, TheClosedFormEqualsEvents) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    RandomCluster random(seed);
    const Network network(machines(random));
    const Communicator group(network, testing::all_ranks(network.world_size()));
    if (group.size() < 2) {
      continue;
    }
    const auto kind = static_cast<CollectiveKind>(random.between(0, 4));
    const std::int64_t bytes = random.between(1, 2'000'000'000);
    const Algorithm algorithm = group.resolve(AllReduceAlgorithm::kAuto, kind, bytes);
    const std::vector<Tick> starts = random.starts(group.size());
    ASSERT_EQ(group.run(kind, algorithm, bytes, starts),
              group.run_events(kind, algorithm, bytes, starts))
        << "seed " << seed << ", " << name(kind) << " by " << name(algorithm);
  }
}

}  // namespace
}  // namespace vitsim
