#include "sim/engine/network.h"

#include <limits>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;

const LinkData kLink{.latency = microseconds(50), .bandwidth = BytesPerSecond(1.25e9)};

NodeData node(const std::string& name, const std::string& at, std::int64_t gpus = 1) {
  return {.name = name,
          .gpus = gpus,
          .nic = kLink,
          .switch_name = at,
          .intra_node = {.latency = microseconds(5), .bandwidth = BytesPerSecond(12e9)}};
}

std::string complaint(const NetworkData& data) {
  try {
    const Network network(data);
  } catch (const UserError& error) {
    return error.what();
  }
  return "nothing";
}

TEST(Network, PathCrossesBothNics) {
  const Network network({.nodes = {node("a", ""), node("b", "")}});
  std::vector<LinkId> path;
  network.append_route(0, 1, path);
  ASSERT_EQ(path.size(), 2U);
  const LinkFigures figures = network.links().figures(path, 1);
  EXPECT_DOUBLE_EQ(figures.latency.value(), 100e-6);  // two links of 50 us
  EXPECT_DOUBLE_EQ(figures.bandwidth.value(), 1.25e9);
}

TEST(Network, InsideANodeLatencyCountsOnce) {
  const Network network({.nodes = {node("a", "", 3)}});
  std::vector<LinkId> path;
  network.append_route(0, 2, path);
  const LinkFigures figures = network.links().figures(path, 1);
  EXPECT_DOUBLE_EQ(figures.latency.value(), 5e-6);
  EXPECT_DOUBLE_EQ(figures.bandwidth.value(), 12e9);
  // Another pair of GPUs has ways of its own.
  std::vector<LinkId> other;
  network.append_route(1, 0, other);
  EXPECT_EQ(std::set<LinkId>(path.begin(), path.end()).count(other[0]), 0U);
  EXPECT_EQ(std::set<LinkId>(path.begin(), path.end()).count(other[1]), 0U);
}

// A square of switches: A-B-D and A-C-D are equally long; the trunk that comes first in the file
// leads to the path taken.
TEST(Network, TiesAreBrokenByFileOrder) {
  NetworkData data{.nodes = {node("x", "A"), node("y", "D")}, .switches = {"A", "B", "C", "D"}};
  data.trunks = {{"A", "C", kLink}, {"A", "B", kLink}, {"B", "D", kLink}, {"C", "D", kLink}};
  const Network network(data);
  std::vector<LinkId> path;
  network.append_route(0, 1, path);
  // NICs are links 0..3, then two per trunk: A-C is 4/5, C-D is 10/11.
  EXPECT_EQ(path, (std::vector<LinkId>{0, 4, 10, 3}));
  path.clear();
  network.append_route(1, 0, path);
  EXPECT_EQ(path.size(), 4U);
}

TEST(Network, TrunksMayNameNodes) {
  NodeData bare = node("y", "");
  bare.nic.reset();
  NetworkData data{.nodes = {node("x", "A"), bare}, .switches = {"A", "B"}};
  data.trunks = {{"A", "B", kLink}, {"y", "B", kLink}};
  const Network network(data);
  std::vector<LinkId> path;
  network.append_route(0, 1, path);
  EXPECT_EQ(path, (std::vector<LinkId>{0, 2, 5}));
  EXPECT_EQ(network.nic_links("y"), (std::vector<LinkId>{4, 5}));
  EXPECT_EQ(network.trunk_links("B", "A"), (std::vector<LinkId>{2, 3}));
  EXPECT_EQ(network.trunk_links("A", "x"), (std::vector<LinkId>{0, 1}));
  EXPECT_THROW(static_cast<void>(network.trunk_links("x", "y")), UserError);
}

TEST(Network, SaysEveryMistake) {
  EXPECT_THAT(complaint({.nodes = {node("a", "X")}, .switches = {"A"}}),
              HasSubstr("unknown switch \"X\""));
  EXPECT_THAT(complaint({.nodes = {node("a", "A"), node("b", "B")}, .switches = {"A", "B"}}),
              HasSubstr("node \"b\" cannot reach node \"a\""));
  EXPECT_THAT(complaint({}), HasSubstr("no GPU"));
  EXPECT_THAT(complaint({.nodes = {node("a", ""), node("a", "")}}), HasSubstr("two things"));
  for (const double bad : {0.0,
                           -1.0,
                           std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()}) {
    NodeData slow = node("a", "");
    slow.nic->bandwidth = BytesPerSecond(bad);
    EXPECT_THAT(complaint({.nodes = {slow}}), HasSubstr("bandwidth must be positive"));
    NodeData late = node("b", "");
    late.nic->latency = Seconds(bad - 0.5);
    EXPECT_THAT(complaint({.nodes = {late}}), HasSubstr("latency must be"));
    // Both at once.
    EXPECT_THAT(complaint({.nodes = {slow, late}}), HasSubstr("\n"));
  }
  NetworkData unknown{.nodes = {node("a", "A")}, .switches = {"A"}};
  unknown.trunks = {{"A", "Z", kLink}};
  EXPECT_THAT(complaint(unknown), HasSubstr("unknown switch or node \"Z\""));
  const Network network({.nodes = {node("a", "")}});
  EXPECT_THROW(static_cast<void>(network.node_of(1)), UserError);
  EXPECT_THROW(static_cast<void>(network.node_of(-1)), UserError);
}

}  // namespace
}  // namespace vitsim
