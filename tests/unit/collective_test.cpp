#include <algorithm>
#include <array>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "sim/collective/chain_broadcast.h"
#include "sim/collective/communicator.h"
#include "sim/collective/open_mpi_selection.h"
#include "sim/collective/reduce_broadcast.h"
#include "sim/collective/staged_collective.h"
#include "sim/collective/table.h"
#include "sim/collective/tree.h"
#include "sim/collective/tree_collective.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;

constexpr Tick kUs = 1'000'000;

/// `n` machines at 1 GB/s, 1 us from one to another.
Network small_star(std::int64_t n) {
  return Network(testing::star(n, BytesPerSecond(1e9), microseconds(0.5)));
}

/// When the last rank ends, everybody starting at 0.
Tick last_end(const Network& network,
              CollectiveKind kind,
              Algorithm algorithm,
              std::int64_t bytes) {
  const Communicator group(network, testing::all_ranks(network.world_size()));
  const std::vector<Tick> starts(group.size());
  const std::vector<Tick> ends = group.run(kind, algorithm, bytes, starts);
  return *std::max_element(ends.begin(), ends.end());
}

// 8 ranks, 8,000 B: rounds of 4,000, 2,000, 1,000 B there and back at 1 ns per byte, 1 us each:
// 6 us + 2 x 7 us = 20 us. Doubling with everything: 3 x (1 + 8) us = 27 us.
TEST(Collective, HalvingAndDoubling) {
  const Network network = small_star(8);
  EXPECT_EQ(last_end(network, CollectiveKind::kAllReduce, Algorithm::kHalvingDoubling, 8000),
            20 * kUs);
  EXPECT_EQ(last_end(network, CollectiveKind::kAllReduce, Algorithm::kRecursiveDoubling, 8000),
            27 * kUs);
}

// 6 ranks are 4 and 2 that hand over everything first and get it last. Alone: 1 + 8 us for each,
// and 2 x (1 + 4) + 2 x (1 + 2) us between. But the two ranks that need not wait are through their
// first exchange at 5 us, and their 2,000 B share the way in of those that still receive 8,000 B:
// that is 2 us more.
TEST(Collective, RanksBeyondAPowerOfTwoFold) {
  const Network network = small_star(6);
  EXPECT_EQ(last_end(network, CollectiveKind::kAllReduce, Algorithm::kHalvingDoubling, 8000),
            36 * kUs);
}

// Two ranks: each is the root of one tree. Half of the bytes up and the same half down, both ways
// at once: 2 x (1 + 4) us.
TEST(Collective, TwoTreesUseBothDirections) {
  const Network network = small_star(2);
  EXPECT_EQ(last_end(network, CollectiveKind::kAllReduce, Algorithm::kTree, 8000), 10 * kUs);
}

// A large AllReduce over two trees sends every byte up and down once, half of them in each tree: an
// inner rank's NIC carries three messages of half a chunk per chunk each way, so the time lies
// between S/B, which no AllReduce beats, and 3 S/B plus the filling of the pipeline.
TEST(Collective, TreesArePipelined) {
  const Network network = small_star(16);
  constexpr std::int64_t kBytes = 128 * 1024 * 1024;
  const Tick wire = transfer_ticks(kBytes, BytesPerSecond(1e9));
  const Tick end = last_end(network, CollectiveKind::kAllReduce, Algorithm::kTree, kBytes);
  EXPECT_GT(end, wire);
  EXPECT_LT(end, 3 * wire);
}

// Every rank that is inside one tree is a leaf of the other.
TEST(Collective, TreesComplementEachOther) {
  for (std::uint32_t n = 2; n < 40; ++n) {
    NodeGroups nodes;
    for (std::uint32_t i = 0; i < n; ++i) {
      nodes.push_back({i});
    }
    const TreePlan plan = double_tree_plan(nodes, 1000);
    std::array<std::set<std::uint32_t>, 2> inner;
    for (std::size_t tree = 0; tree < 2; ++tree) {
      const SpanningTree& built = plan.trees[tree];
      for (std::uint32_t i = 0; i < n; ++i) {
        std::uint32_t at = i;
        for (std::uint32_t hops = 0; at != built.root; ++hops) {
          ASSERT_LT(hops, n) << "no way from " << i << " to the root";
          at = built.parent[at];
        }
        if (i != built.root) {
          inner[tree].insert(built.parent[i]);
        }
      }
      inner[tree].erase(built.root);
    }
    for (const std::uint32_t rank : inner[0]) {
      EXPECT_EQ(inner[1].count(rank), 0U) << n << " ranks, rank " << rank;
    }
  }
}

// Chain of 3: 2 chunks of 512 KiB; the last arrives after (2 + 1) x chunk: 3 x (1 us + 524.288 us).
TEST(Collective, BroadcastIsAPipelinedChain) {
  const Network network = small_star(3);
  EXPECT_EQ(last_end(network, CollectiveKind::kBroadcast, Algorithm::kRing, 1024 * 1024),
            3 * (kUs + 524'288'000));
}

// 2 nodes of 2: reduce-scatter inside 1 x (2 us + 4,000 B at 4 GB/s) = 3 us; between the nodes
// 2 x (1 us + 2,000 B, the NIC shared by two) = 10 us; all-gather 3 us.
TEST(Collective, HierarchicalSharesTheNic) {
  NetworkData data = testing::star(2, BytesPerSecond(1e9), microseconds(0.5));
  for (NodeData& node : data.nodes) {
    node.gpus = 2;
    node.intra_node = {.latency = microseconds(2), .bandwidth = BytesPerSecond(4e9)};
  }
  const Network network(data);
  EXPECT_EQ(last_end(network, CollectiveKind::kAllReduce, Algorithm::kHierarchical, 8000),
            16 * kUs);
}

// 8 equal ranks, as in HalvingAndDoubling: everybody takes 20 us and 27 us; a ring 14 x (1 + 1) us.
// In nodes of four GPUs the ring has quick hops, and the second GPU behind a slow hop ends early;
// in nodes of two nobody is second. Of six ranks two stand aside.
TEST(Collective, TimeOfRanksThatStartTogether) {
  const Network eight = small_star(8);
  const Communicator group(eight, testing::all_ranks(8));
  const auto time = [](const Communicator& ranks, Algorithm algorithm) {
    return ranks.time_together(CollectiveKind::kAllReduce, algorithm, 8000);
  };
  EXPECT_EQ(time(group, Algorithm::kHalvingDoubling), 20 * kUs);
  EXPECT_EQ(time(group, Algorithm::kRecursiveDoubling), 27 * kUs);
  EXPECT_EQ(time(group, Algorithm::kRing), 28 * kUs);
  EXPECT_FALSE(time(group, Algorithm::kTree));
  const auto ring_in_nodes = [&](std::int64_t nodes, std::int64_t gpus) {
    NetworkData data = testing::star(nodes, BytesPerSecond(1e9), microseconds(0.5));
    for (NodeData& node : data.nodes) {
      node.gpus = gpus;
    }
    const Network network(data);
    return time(Communicator(network, testing::all_ranks(8)), Algorithm::kRing);
  };
  EXPECT_EQ(ring_in_nodes(4, 2), 28 * kUs);
  EXPECT_FALSE(ring_in_nodes(2, 4));
  const Network six = small_star(6);
  EXPECT_FALSE(time(Communicator(six, testing::all_ranks(6)), Algorithm::kHalvingDoubling));
}

TEST(Collective, OneRankOrNoBytesTakeNoTime) {
  for (const Algorithm algorithm : {Algorithm::kRing,
                                    Algorithm::kTree,
                                    Algorithm::kHalvingDoubling,
                                    Algorithm::kRecursiveDoubling,
                                    Algorithm::kReduceBroadcast}) {
    EXPECT_EQ(last_end(small_star(1), CollectiveKind::kAllReduce, algorithm, 1000), 0);
    EXPECT_EQ(last_end(small_star(3), CollectiveKind::kAllReduce, algorithm, 0), 0);
  }
  EXPECT_EQ(last_end(small_star(1), CollectiveKind::kBroadcast, Algorithm::kRing, 1000), 0);
}

// Rows of the decision table, one on each side of a border.
TEST(Choice, OpenMpiByRanksAndBytes) {
  struct Row {
    std::int64_t ranks;
    std::int64_t bytes;
    Algorithm algorithm;
  };

  for (const Row& row : {Row{2, 4095, Algorithm::kRecursiveDoubling},
                         Row{2, 4096, Algorithm::kRing},
                         Row{2, 262'143, Algorithm::kRing},
                         Row{2, 262'144, Algorithm::kHalvingDoubling},
                         Row{5, 8191, Algorithm::kRecursiveDoubling},
                         Row{5, 8192, Algorithm::kHalvingDoubling},
                         Row{64, 262'143, Algorithm::kRecursiveDoubling},
                         Row{128, 131'071, Algorithm::kReduceBroadcast},
                         Row{128, 131'072, Algorithm::kRecursiveDoubling},
                         Row{600, 16'384, Algorithm::kHalvingDoubling},
                         Row{2048, 4095, Algorithm::kRecursiveDoubling},  // ring, fewer than ranks
                         Row{4096, 16'384, Algorithm::kRecursiveDoubling}}) {
    EXPECT_EQ(open_mpi_algorithm(row.ranks, row.bytes), row.algorithm)
        << row.ranks << " ranks, " << row.bytes << " B";
  }
}

// 4 ranks at 1 GB/s: 8 MB take 6 x (1 us + 2 ms); busbw is algbw x 2 x 3/4.
TEST(Collective, TableAsNcclTestsPrintsIt) {
  const Network network = small_star(4);
  const Communicator group(network, testing::all_ranks(4));
  const auto rows =
      collective_table(group, CollectiveKind::kAllReduce, AllReduceAlgorithm::kRing, 8, 8'000'000);
  ASSERT_EQ(rows.size(), 20U);  // 8 B x 2^19 is 4,194,304 B; doubled it is beyond
  EXPECT_EQ(rows[19].bytes, 8 << 19);
  const CollectiveRow row = collective_table(
      group, CollectiveKind::kAllReduce, AllReduceAlgorithm::kRing, 8'000'000, 8'000'000)[0];
  EXPECT_DOUBLE_EQ(row.time.value(), 6 * 2.001e-3);
  EXPECT_DOUBLE_EQ(row.algbw.value(), 8e6 / (6 * 2.001e-3));
  EXPECT_DOUBLE_EQ(row.busbw.value(), 1.5 * row.algbw.value());
  EXPECT_THROW(collective_table(group, CollectiveKind::kAllReduce, AllReduceAlgorithm::kRing, 8, 4),
               UserError);
}

// Two messages of 10 days each: 20 days fit the clock, by arrays as by events.
TEST(Collective, RunsForWeeks) {
  const Network slow(testing::star(2, BytesPerSecond(1), Seconds(0)));
  constexpr std::int64_t kTenDays = 864'000;  // seconds
  const Communicator group(slow, testing::all_ranks(2));
  const std::vector<Tick> starts(2);
  const std::vector<Tick> expected(2, 2 * kTenDays * kTicksPerSecond);
  EXPECT_EQ(group.run(CollectiveKind::kAllReduce, Algorithm::kRing, 2 * kTenDays, starts),
            expected);
  EXPECT_EQ(group.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, 2 * kTenDays, starts),
            expected);
  // 3 ranks, 4 messages of 20 days: 80 days do not.
  const Network three(testing::star(3, BytesPerSecond(1), Seconds(0)));
  EXPECT_THROW(last_end(three, CollectiveKind::kAllReduce, Algorithm::kRing, 6 * kTenDays),
               UserError);
}

// What a collective says when its ranks do not all come. Ranks 4, 5 and 6 of a cluster, of which 6
// stays away.
TEST(Collective, SaysWhatRanksWaitFor) {
  class Nobody final : public CollectiveListener {
    void collective_done(std::uint32_t /*collective*/, std::uint32_t /*position*/) override {}
  };

  const Network network = small_star(7);
  FlowEngine engine(network.links());
  StreamSet streams(engine, network, {4, 5, 6});
  Nobody nobody;
  const auto ring =
      make_staged_collective(streams, ring_plan(CollectiveKind::kAllReduce, 3, 3000), nobody, 0);
  const auto chain = make_tree_collective(streams, chain_broadcast_plan(3, 3000), nobody, 1);
  const auto tree = make_tree_collective(streams, reduce_broadcast_plan(3, 3000), nobody, 2);
  for (const std::uint32_t position : {0, 1}) {
    ring->start(position);
    chain->start(position);
    tree->start(position);
  }
  engine.run();
  EXPECT_THAT(ring->waiting(),
              ElementsAre("rank 4 waits in step 1 of 4 of stage 1 for a message of 1000 B from "
                          "rank 6",
                          "rank 5 waits in step 2 of 4 of stage 1 for a message of 1000 B from "
                          "rank 4",
                          "rank 6 has not started"));
  EXPECT_THAT(chain->waiting(), ElementsAre("rank 6 has not started"));
  EXPECT_THAT(tree->waiting(),
              ElementsAre("rank 4 waits for chunk 1 of 1 of tree 1 to be reduced by rank 6",
                          "rank 5 waits for chunk 1 of 1 of tree 1 to be sent by rank 4",
                          "rank 6 has not started"));
}

TEST(Collective, RefusesTimesBeyondTheClock) {
  const Network slow(testing::star(2, BytesPerSecond(1), Seconds(0)));
  EXPECT_THROW(last_end(slow, CollectiveKind::kAllReduce, Algorithm::kRing, 1'000'000'000),
               UserError);
}

}  // namespace
}  // namespace vitsim
