#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Two complementary in-order binary trees over the nodes (Sanders, Speck, Traeff, "Two-tree
/// algorithms for full bandwidth broadcast, reduction and scan", 2009), each node's ranks in a
/// chain behind its first, as NCCL's Tree does. Half of the bytes each, in chunks of NCCL's buffer
/// slice (4 MiB / 8), at most 256 of them. With several NICs in a node there are two trees for
/// each, whose chains begin at the GPU that is nearest to it.
TreePlan double_tree_plan(const NodeGroups& nodes, std::int64_t bytes, std::uint32_t rails = 1);

}  // namespace vitsim
