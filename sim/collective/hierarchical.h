#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Does every node have the same number of ranks?
bool can_be_hierarchical(const NodeGroups& nodes);

/// Ring reduce-scatter inside each node, one ring AllReduce per GPU index between the nodes, ring
/// all-gather inside. Needs `can_be_hierarchical(nodes)`.
StagedPlan hierarchical_plan(const NodeGroups& nodes, std::int64_t bytes);

}  // namespace vitsim
