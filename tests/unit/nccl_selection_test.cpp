#include "sim/collective/nccl_selection.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "sim/collective/choice_text.h"
#include "sim/collective/communicator.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMi = 1024 * 1024;
constexpr std::int64_t kGi = 1024 * kMi;

/// One node of `gpus` whose ways deliver `bandwidth`, by NVLink.
NetworkData nvlink_node(std::int64_t gpus, BytesPerSecond bandwidth) {
  NetworkData data;
  data.nodes.push_back({.name = "dgx",
                        .gpus = gpus,
                        .intra_node = {.latency = microseconds(0.6),
                                       .bandwidth = bandwidth,
                                       .traits = {.kind = LinkKind::kNvlink}}});
  return data;
}

/// `nodes` of `gpus` with `nics` each of `bandwidth` GB/s.
NetworkData nvlink_nodes(std::int64_t nodes,
                         std::int64_t gpus,
                         std::int64_t nics,
                         double bandwidth) {
  NetworkData data;
  for (std::int64_t i = 0; i < nodes; ++i) {
    data.nodes.push_back(nvlink_node(gpus, BytesPerSecond(225e9)).nodes.front());
    data.nodes.back().name = "dgx-" + std::to_string(i);
    data.nodes.back().nics = nics;
    data.nodes.back().nic =
        LinkData{.latency = microseconds(1.35), .bandwidth = BytesPerSecond(bandwidth * 1e9)};
  }
  return data;
}

Tick time_of(const Network& network,
             CollectiveKind kind,
             AllReduceAlgorithm word,
             std::int64_t bytes) {
  const Communicator group(network, testing::all_ranks(network.world_size()));
  const std::vector<Tick> starts(group.size());
  return group.run(kind, group.resolve(word, kind, bytes), bytes, starts).front();
}

// 8 GPUs of one node over NVLink at 320 GB/s; the expectations are NCCL's own formula by hand. Ring
// LL: 6.6 + 14 x 0.6 us, 8 KiB at 87.7 x 8/14 GB/s. Ring LL128: 14 + 14 x 1.9 us, 25 MiB at 0.92 x
// 320 x 8/14 GB/s. Ring Simple: 8.4 + 14 x 3.4 us, 344 MiB at 320 x 8/14 GB/s.
TEST(NcclSelection, TimesInsideANode) {
  const Network network(nvlink_node(8, BytesPerSecond(320e9)));
  const Communicator group(network, testing::all_ranks(8));
  const auto nccl = group.nccl();
  const NcclModel& model = *nccl;
  const auto time = [&](Algorithm algorithm, std::int64_t bytes) {
    return to_seconds(model.call(CollectiveKind::kAllReduce, algorithm, bytes)->duration()).value();
  };
  EXPECT_NEAR(time(Algorithm::kNcclRingLl, 8 * 1024), 15.16e-6, 0.01e-6);
  EXPECT_NEAR(time(Algorithm::kNcclRingLl128, 25 * kMi), 196e-6, 1e-6);
  EXPECT_NEAR(time(Algorithm::kNcclRingSimple, 344 * kMi), 2.03e-3, 0.01e-3);
  const auto choice = [&](std::int64_t bytes) {
    return model.choose(CollectiveKind::kAllReduce, bytes);
  };
  EXPECT_EQ(choice(8 * 1024), Algorithm::kNcclRingLl);
  EXPECT_EQ(choice(25 * kMi), Algorithm::kNcclRingLl128);
  EXPECT_EQ(choice(344 * kMi), Algorithm::kNcclRingSimple);
}

// 64 nodes of one GPU: a small message goes by tree (2 log2 64 network hops instead of 126).
TEST(NcclSelection, TreesForSmallMessagesOnManyNodes) {
  const Network network(testing::star(64, BytesPerSecond(12.5e9), microseconds(1.35)));
  const Communicator group(network, testing::all_ranks(64));
  EXPECT_EQ(group.resolve(AllReduceAlgorithm::kAuto, 64 * 1024), Algorithm::kNcclTreeLl);
  EXPECT_EQ(group.resolve(AllReduceAlgorithm::kAuto, 4 * kGi), Algorithm::kNcclRingSimple);
}

// 2 GPUs without peer access at 2.7 GB/s: 16 KiB by LL take 6.6 + 2 x 1 us and twice the bytes,
// 32 KiB at 2.7 GB/s.
TEST(NcclSelection, LlDoublesTheBytes) {
  NetworkData data;
  data.nodes.push_back({.name = "box",
                        .gpus = 2,
                        .intra_node = {.latency = microseconds(1),
                                       .bandwidth = BytesPerSecond(2.7e9),
                                       .traits = {.kind = LinkKind::kPcie}}});
  const Tick time =
      time_of(Network(data), CollectiveKind::kAllReduce, AllReduceAlgorithm::kAuto, 16 * 1024);
  EXPECT_NEAR(to_seconds(time).value(), 8.6e-6 + 32'768 / 2.7e9, 0.02e-6);
}

// The network's own latency takes the place of NCCL's constant: two GPUs over Ethernet of 20 us a
// NIC. Two hops of max(40, 2.7) us, and Tree's 2.3 us more than the ring for LL: with one GPU in
// each node NCCL takes Tree's figures. 6.6 + 2 x 42.3 us.
TEST(NcclSelection, SlowNetworksCountWithTheirLatency) {
  const Network network(testing::star(2, BytesPerSecond(1.25e9), microseconds(20)));
  const Communicator group(network, testing::all_ranks(2));
  const auto call = group.nccl()->call(CollectiveKind::kAllReduce, Algorithm::kNcclRingLl, 1);
  EXPECT_NEAR(to_seconds(call->duration()).value(), 91.2e-6, 0.01e-6);
}

// Where the switch sums, every byte crosses a GPU's link once: 1 GiB at 274 GB/s, and 25 us.
TEST(NcclSelection, TheSwitchSums) {
  NetworkData data = nvlink_node(8, BytesPerSecond(365e9));
  data.nodes[0].intra_node.traits.switch_reduces = true;
  data.nodes[0].intra_node.traits.switch_bandwidth = BytesPerSecond(274e9);
  const Network network(data);
  const Communicator group(network, testing::all_ranks(8));
  EXPECT_EQ(group.resolve(AllReduceAlgorithm::kAuto, kGi), Algorithm::kNvls);
  const Tick time = time_of(network, CollectiveKind::kAllReduce, AllReduceAlgorithm::kNvls, kGi);
  EXPECT_NEAR(to_seconds(time).value(), 25e-6 + static_cast<double>(kGi) / 274e9, 1e-9);
}

// Two nodes of 8 with 8 NICs of 23.5 GB/s: 188 GB/s for the ring; with one NIC an eighth of it.
TEST(NcclSelection, NicsAddUp) {
  const auto bandwidth = [](std::int64_t nics) {
    const Tick time = time_of(Network(nvlink_nodes(2, 8, nics, 23.5)),
                              CollectiveKind::kReduceScatter,
                              AllReduceAlgorithm::kAuto,
                              16 * kGi);
    return 16.0 * static_cast<double>(kGi) * 15 / 16 / to_seconds(time).value();
  };
  EXPECT_NEAR(bandwidth(8), 188e9, 2e9);
  EXPECT_NEAR(bandwidth(1), 23.5e9, 0.1e9);
}

// Each rank sends 7/8 of its bytes; send-receive reaches 0.85 of what rings reach.
TEST(NcclSelection, AllToAllSendsToEveryOther) {
  const Network network(nvlink_node(8, BytesPerSecond(225e9)));
  const Tick time = time_of(network, CollectiveKind::kAllToAll, AllReduceAlgorithm::kAuto, kGi);
  const double wire = 7.0 / 8 * static_cast<double>(kGi) / (0.85 * 225e9);
  EXPECT_NEAR(to_seconds(time).value(), 8.4e-6 + 7 * 3.4e-6 + wire, 1e-6);
}

// Between nodes a rank sends to 8 of 16 ranks by its share of the NICs: 8 GPUs x 8/16 of 1 GiB.
TEST(NcclSelection, AllToAllCrossesTheNics) {
  const Network network(nvlink_nodes(2, 8, 4, 10));
  const Tick time = time_of(network, CollectiveKind::kAllToAll, AllReduceAlgorithm::kAuto, kGi);
  EXPECT_NEAR(to_seconds(time).value(), 8 * 0.5 * static_cast<double>(kGi) / (0.85 * 40e9), 1e-3);
}

TEST(NcclSelection, WordsSayWhatTheyNeed) {
  const Network network(nvlink_nodes(2, 8, 1, 10));
  const Communicator group(network, testing::all_ranks(16));
  for (const auto& [word, needs] : std::vector<std::pair<AllReduceAlgorithm, std::string>>{
           {AllReduceAlgorithm::kNvls, "switch_reduces"},
           {AllReduceAlgorithm::kNvlsTree, "switch_reduces"},
           {AllReduceAlgorithm::kCollNet, "switch_reduces"},
           {AllReduceAlgorithm::kPat, "one GPU in each node"}}) {
    try {
      (void)group.resolve(word, kMi);
      ADD_FAILURE() << name(word);
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(needs));
    }
  }
}

// PAT's AllGather on 8 nodes of one GPU: 8 + 3 x 14 us, 7/8 of the bytes at three quarters.
TEST(NcclSelection, PatGathersInLogarithmicSteps) {
  const Network network(testing::star(8, BytesPerSecond(10e9), microseconds(1.35)));
  const Tick time =
      time_of(network, CollectiveKind::kAllGather, AllReduceAlgorithm::kPat, 64 * kMi);
  EXPECT_NEAR(to_seconds(time).value(), 50e-6 + 7.0 / 8 * 64 * kMi / 7.5e9, 0.1e-6);
}

// A chain in each node and one crossing of the network: 1 GiB over NICs of 10 GB/s; every byte goes
// up and down the chain at 225 GB/s, which is less.
TEST(NcclSelection, CollNetCrossesTheNetworkOnce) {
  NetworkData data = nvlink_nodes(4, 8, 1, 10);
  for (NodeData& node : data.nodes) {
    node.nic->traits.switch_reduces = true;
  }
  const Tick time =
      time_of(Network(data), CollectiveKind::kAllReduce, AllReduceAlgorithm::kCollNet, kGi);
  EXPECT_NEAR(to_seconds(time).value(), static_cast<double>(kGi) / 10e9, 1e-3);
}

TEST(NcclSelection, RingsBetweenCpusAndOnMeasuredLinks) {
  NetworkData cpus = testing::star(4, BytesPerSecond(1e9), microseconds(10));
  for (NodeData& node : cpus.nodes) {
    node.accelerator = Accelerator::kCpu;
  }
  NetworkData measured = testing::star(4, BytesPerSecond(1e9), microseconds(10));
  for (NodeData& node : measured.nodes) {
    node.nic->traits.is_measured = true;
  }
  for (const NetworkData& data : {cpus, measured}) {
    const Network network(data);
    const Communicator group(network, testing::all_ranks(4));
    EXPECT_EQ(group.resolve(AllReduceAlgorithm::kAuto, kMi), Algorithm::kRing);
    EXPECT_EQ(group.resolve(AllReduceAlgorithm::kAuto, CollectiveKind::kAllToAll, kMi),
              Algorithm::kPairwise);
  }
}

// 4 ranks at 1 GB/s, 2 us apart: three rounds of a quarter of 8,000 B.
TEST(NcclSelection, AllToAllBetweenCpusGoesRoundByRound) {
  NetworkData cpus = testing::star(4, BytesPerSecond(1e9), microseconds(1));
  for (NodeData& node : cpus.nodes) {
    node.accelerator = Accelerator::kCpu;
  }
  EXPECT_EQ(time_of(Network(cpus), CollectiveKind::kAllToAll, AllReduceAlgorithm::kAuto, 8000),
            3 * to_ticks(microseconds(4)));
}

TEST(NcclSelection, TheChoiceIsTold) {
  const Network network(nvlink_node(8, BytesPerSecond(225e9)));
  const Communicator group(network, testing::all_ranks(8));
  EXPECT_EQ(choice_text(group, AllReduceAlgorithm::kAuto, CollectiveKind::kAllReduce, kGi),
            "ring (Simple), as NCCL chooses between GPUs");
  EXPECT_EQ(choice_text(group, AllReduceAlgorithm::kTree, CollectiveKind::kAllReduce, kGi),
            "tree, as the file says");
}

}  // namespace
}  // namespace vitsim
