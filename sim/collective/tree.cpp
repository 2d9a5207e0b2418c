#include "sim/collective/tree.h"

namespace vitsim {

namespace {

/// Parent of `x` in the in-order binary tree over 0..n-1 with root 0: clear the lowest set bit and
/// set the next one, unless that leaves the range.
std::uint32_t in_order_parent(std::uint32_t x, std::uint32_t n) {
  if (x == 0) {
    return 0;
  }
  const std::uint32_t bit = x & (~x + 1);
  const std::uint32_t up = (x ^ bit) | (bit << 1U);
  return up < n ? up : x ^ bit;
}

}  // namespace

TreePlan double_tree_plan(const NodeGroups& nodes, std::int64_t bytes, std::uint32_t rails) {
  TreePlan plan{.up = true, .down = true, .rails = rails};
  for (const std::vector<std::uint32_t>& node : nodes) {
    plan.ranks += static_cast<std::uint32_t>(node.size());
  }
  const auto n = static_cast<std::uint32_t>(nodes.size());
  for (std::uint32_t pair = 0; pair < 2 * rails; ++pair) {
    const std::uint32_t tree = pair % 2;
    // The GPU of a node that is nearest to NIC number pair / 2 talks to the other nodes.
    const auto member = [&](const std::vector<std::uint32_t>& node, std::size_t gpu) {
      const std::size_t first = (pair / 2 * node.size() + rails - 1) / rails;
      return node[(first + gpu) % node.size()];
    };
    // The second tree is the first seen from the other end (even n) or one further on (odd n), so
    // that a node inside one tree is a leaf of the other.
    const auto there = [&](std::uint32_t x) {
      return tree == 0 ? x : n % 2 == 0 ? n - 1 - x : (x + n - 1) % n;
    };
    const auto back = [&](std::uint32_t x) {
      return tree == 0 ? x : n % 2 == 0 ? n - 1 - x : (x + 1) % n;
    };
    SpanningTree built{.parent = std::vector<std::uint32_t>(plan.ranks),
                       .root = member(nodes[back(0)], 0)};
    for (std::uint32_t m = 0; m < n; ++m) {
      built.parent[member(nodes[m], 0)] = member(nodes[back(in_order_parent(there(m), n))], 0);
      for (std::size_t gpu = 1; gpu < nodes[m].size(); ++gpu) {
        built.parent[member(nodes[m], gpu)] = member(nodes[m], gpu - 1);
      }
    }
    plan.trees.push_back(std::move(built));
  }
  set_chunks(plan, divide_up(bytes, 2 * static_cast<std::int64_t>(rails)));
  return plan;
}

}  // namespace vitsim
