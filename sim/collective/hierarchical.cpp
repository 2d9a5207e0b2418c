#include "sim/collective/hierarchical.h"

#include <algorithm>

#include "models/error.h"

namespace vitsim {

bool can_be_hierarchical(const NodeGroups& nodes) {
  return std::all_of(
      nodes.begin(), nodes.end(), [&](const auto& node) { return node.size() == nodes[0].size(); });
}

StagedPlan hierarchical_plan(const NodeGroups& nodes, std::int64_t bytes) {
  VITSIM_CHECK(can_be_hierarchical(nodes), ==, true);
  const std::size_t inside = nodes[0].size();
  StagedPlan plan = empty_plan(static_cast<std::uint32_t>(inside * nodes.size()), 3);
  const auto gpus = static_cast<std::uint32_t>(inside);
  const auto machines = static_cast<std::uint32_t>(nodes.size());
  const std::int64_t shard = divide_up(bytes, gpus);
  for (const std::vector<std::uint32_t>& node : nodes) {
    set_ring(plan, node, 0, shard, gpus - 1);
    set_ring(plan, node, 2, shard, gpus - 1);
  }
  for (std::size_t gpu = 0; gpu < inside; ++gpu) {
    std::vector<std::uint32_t> ring;
    for (const std::vector<std::uint32_t>& node : nodes) {
      ring.push_back(node[gpu]);
    }
    set_ring(plan, ring, 1, divide_up(shard, machines), 2 * (machines - 1));
  }
  return plan;
}

}  // namespace vitsim
