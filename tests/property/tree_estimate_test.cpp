#include "sim/collective/tree_estimate.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "tests/support/random_cluster.h"

// The estimate for trees over many ranks against their simulation message by message.

namespace vitsim {
namespace {

constexpr std::int64_t kBucket = 25 * 1024 * 1024;

/// Which machines have the NIC of 12.5 GB/s; the others have one of 25 GB/s.
enum class Slow { kAll, kEverySecond, kFirstHalf, kOne };

Network cluster(std::int64_t nodes, std::int64_t gpus, Slow slow) {
  NetworkData data = testing::star(nodes, BytesPerSecond(12.5e9), microseconds(2.5));
  for (std::int64_t i = 0; i < nodes; ++i) {
    NodeData& node = data.nodes[static_cast<std::size_t>(i)];
    const bool is_slow = slow == Slow::kAll || (slow == Slow::kEverySecond && i % 2 == 0) ||
                         (slow == Slow::kFirstHalf && i < nodes / 2) ||
                         (slow == Slow::kOne && i == nodes / 3);
    node.gpus = gpus;
    node.nic->bandwidth = BytesPerSecond(is_slow ? 12.5e9 : 25e9);
    node.intra_node = {.latency = microseconds(2),
                       .bandwidth = BytesPerSecond(is_slow ? 1e11 : 3e11)};
  }
  return Network(data);
}

/// Estimate over event level, less one.
double error(const Network& network, std::int64_t bytes) {
  const std::vector<std::int64_t> ranks = testing::all_ranks(network.world_size());
  const Communicator group(network, ranks);
  const std::vector<Tick> starts(ranks.size());
  const std::vector<Tick> ends =
      group.run_events(CollectiveKind::kAllReduce, Algorithm::kTree, bytes, starts);
  const auto last = static_cast<double>(*std::max_element(ends.begin(), ends.end()));
  const auto estimate = estimated_tree_time(network, ranks, group.nodes(), bytes);
  return estimate ? static_cast<double>(*estimate) / last - 1 : -1;
}

struct Shape {
  std::int64_t nodes;
  std::int64_t gpus;
};

class TreeEstimate : public ::testing::TestWithParam<Shape> {};

TEST_P(TreeEstimate, EqualNodesWithinFivePercent) {
  const auto [nodes, gpus] = GetParam();
  const Network network = cluster(nodes, gpus, Slow::kAll);
  for (const std::int64_t bytes : {kBucket / 25, kBucket, 4 * kBucket}) {
    EXPECT_NEAR(error(network, bytes), 0, 0.05) << bytes << " B";
  }
}

TEST_P(TreeEstimate, TwoKindsOfNodesWithinFivePercent) {
  const auto [nodes, gpus] = GetParam();
  for (const Slow slow : {Slow::kEverySecond, Slow::kFirstHalf}) {
    EXPECT_NEAR(error(cluster(nodes, gpus, slow), kBucket), 0, 0.05);
  }
}

// One slow machine among many sets the pace; how much of the pipeline's filling hides behind it
// depends on its place, which few nodes do not show.
TEST_P(TreeEstimate, OneSlowNodeWithinFifteenPercent) {
  const auto [nodes, gpus] = GetParam();
  EXPECT_NEAR(error(cluster(nodes, gpus, Slow::kOne), kBucket), 0, 0.15);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes,
    TreeEstimate,
    ::testing::Values(
        Shape{64, 1}, Shape{20, 3}, Shape{256, 1}, Shape{32, 8}, Shape{1024, 1}, Shape{128, 8}),
    [](const auto& shape) {
      return std::to_string(shape.param.nodes) + "x" + std::to_string(shape.param.gpus);
    });

// Slow ways inside the node make the chain of its GPUs the bottleneck.
TEST(TreeEstimateEdges, ChainsInsideNodesMayBeTheBottleneck) {
  NetworkData data = testing::star(64, BytesPerSecond(12.5e9), microseconds(2.5));
  for (NodeData& node : data.nodes) {
    node.gpus = 8;
    node.intra_node = {.latency = microseconds(2), .bandwidth = BytesPerSecond(2e9)};
  }
  EXPECT_NEAR(error(Network(data), kBucket), 0, 0.05);
}

TEST(TreeEstimateEdges, IsToldApartFromExactArrays) {
  const Network network = cluster(64, 8, Slow::kAll);
  const std::vector<std::int64_t> ranks = testing::all_ranks(512);
  const Communicator group(network, ranks);
  EXPECT_FALSE(group.arrays(CollectiveKind::kAllReduce, Algorithm::kTree, kBucket));
  auto tree = group.arrays_or_estimate(CollectiveKind::kAllReduce, Algorithm::kTree, kBucket);
  ASSERT_TRUE(tree);
  EXPECT_FALSE(tree->is_exact());
  const auto time = estimated_tree_time(network, ranks, group.nodes(), kBucket);
  EXPECT_EQ(tree->uniform(), time);
  // Everybody ends that long after the last start.
  std::vector<Tick> times(512, 1000);
  times[77] = 5000;
  tree->run(times, times);
  EXPECT_EQ(times, std::vector<Tick>(512, 5000 + *time));

  const auto ring = group.arrays_or_estimate(CollectiveKind::kAllReduce, Algorithm::kRing, kBucket);
  ASSERT_TRUE(ring);
  EXPECT_TRUE(ring->is_exact());
  // Up to 256 ranks the event level answers, and where nodes are behind several switches.
  const Communicator small(network, testing::all_ranks(256));
  EXPECT_FALSE(small.arrays_or_estimate(CollectiveKind::kAllReduce, Algorithm::kTree, kBucket));
  NetworkData apart = testing::star(300, BytesPerSecond(12.5e9), microseconds(2.5));
  const Network two(testing::on_two_switches(apart, BytesPerSecond(1e11)));
  const Communicator across(two, testing::all_ranks(300));
  EXPECT_FALSE(across.arrays_or_estimate(CollectiveKind::kAllReduce, Algorithm::kTree, kBucket));
}

}  // namespace
}  // namespace vitsim
