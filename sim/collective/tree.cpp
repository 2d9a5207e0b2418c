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

TreePlan double_tree_plan(const NodeGroups& nodes, std::int64_t bytes) {
  TreePlan plan{.up = true, .down = true};
  for (const std::vector<std::uint32_t>& node : nodes) {
    plan.ranks += static_cast<std::uint32_t>(node.size());
  }
  const auto n = static_cast<std::uint32_t>(nodes.size());
  for (int tree = 0; tree < 2; ++tree) {
    // The second tree is the first seen from the other end (even n) or one further on (odd n), so
    // that a node inside one tree is a leaf of the other.
    const auto there = [&](std::uint32_t x) {
      return tree == 0 ? x : n % 2 == 0 ? n - 1 - x : (x + n - 1) % n;
    };
    const auto back = [&](std::uint32_t x) {
      return tree == 0 ? x : n % 2 == 0 ? n - 1 - x : (x + 1) % n;
    };
    SpanningTree built{.parent = std::vector<std::uint32_t>(plan.ranks),
                       .root = nodes[back(0)].front()};
    for (std::uint32_t m = 0; m < n; ++m) {
      built.parent[nodes[m].front()] = nodes[back(in_order_parent(there(m), n))].front();
      for (std::size_t gpu = 1; gpu < nodes[m].size(); ++gpu) {
        built.parent[nodes[m][gpu]] = nodes[m][gpu - 1];
      }
    }
    plan.trees.push_back(std::move(built));
  }
  set_chunks(plan, divide_up(bytes, 2));
  return plan;
}

}  // namespace vitsim
