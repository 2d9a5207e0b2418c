#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/collective/loaded_links.h"
#include "sim/collective/plan.h"
#include "sim/engine/network.h"

namespace vitsim {

/// A group of ranks as NCCL's searches see it.
struct NcclGroup {
  const Network& network;
  std::span<const std::int64_t> ranks;  // by position, in ring order
  const NodeGroups& nodes;              // positions by node
};

/// How many rings, and trees, NCCL lays side by side between the nodes: one for each NIC of the
/// node that has the fewest; 1 inside a node.
std::uint32_t rails_of(const NcclGroup& group);

/// Every byte once over each hop of the ring. There is a ring for each NIC; those of one node begin
/// at different GPUs, so that a GPU whose ring leaves the node has less to send inside it.
std::vector<LinkLoad> ring_loads(const NcclGroup& group);

/// Every byte up and down two trees over the nodes, half of it in each; a chain in each node.
std::vector<LinkLoad> tree_loads(const NcclGroup& group);

/// The part of `tree_loads` between the nodes, for trees whose nodes sum in their switch.
std::vector<LinkLoad> tree_loads_between_nodes(const NcclGroup& group);

/// A chain in each node, up and down; each node sends everything to a summing network once and
/// receives it once.
std::vector<LinkLoad> collnet_loads(const NcclGroup& group);

/// Every rank sends an equal share to every other.
std::vector<LinkLoad> pairwise_loads(const NcclGroup& group);

}  // namespace vitsim
