#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "models/experiment/training.h"

namespace vitsim {

enum class CollectiveKind { kAllReduce, kReduceScatter, kAllGather, kBroadcast };
inline constexpr std::array<std::string_view, 4> kCollectiveNames = {
    "all-reduce", "reduce-scatter", "all-gather", "broadcast"};

constexpr std::string_view name(CollectiveKind kind) {
  return kCollectiveNames[static_cast<std::size_t>(kind)];
}

/// Who sends what to whom, once libraries' choices are made.
enum class Schedule {
  kRing,
  kTree,               // two binary trees, half of the bytes each, pipelined
  kHalvingDoubling,    // Rabenseifner: recursive halving, then recursive doubling
  kHierarchical,       // inside each node, between nodes per GPU index, inside
  kRecursiveDoubling,  // everything to a partner at distance 1, 2, 4, ...
  kReduceBroadcast,    // one binomial tree up, then down
};
inline constexpr std::array<std::string_view, 6> kCollectiveScheduleNames = {
    "ring", "tree", "halving-doubling", "hierarchical", "recursive-doubling", "reduce-broadcast"};

constexpr std::string_view name(Schedule schedule) {
  return kCollectiveScheduleNames[static_cast<std::size_t>(schedule)];
}

/// One rank's part in one stage: in each of `repeat` steps it sends `bytes` to `to` and waits for
/// as many messages from `from`; a step ends when its own message is delivered and the other
/// arrived.
struct Stage {
  std::optional<std::uint32_t> to;
  std::optional<std::uint32_t> from;
  std::int64_t bytes = 0;
  std::uint32_t repeat = 1;
};

/// A collective as stages that all ranks number alike; messages of one stage meet receivers of the
/// same stage. Positions are places in the group, 0..ranks-1.
struct StagedPlan {
  std::uint32_t ranks = 0;
  std::uint32_t stages = 0;
  std::vector<Stage> entries;  // [rank * stages + stage]

  [[nodiscard]] const Stage& at(std::uint32_t rank, std::uint32_t stage) const {
    return entries[static_cast<std::size_t>(rank) * stages + stage];
  }
};

/// One spanning tree; the root is its own parent.
struct SpanningTree {
  std::vector<std::uint32_t> parent;
  std::uint32_t root = 0;
};

/// Trees that carry equal parts of the bytes in chunks, up (reduction), down (broadcast), or both.
struct TreePlan {
  std::uint32_t ranks = 0;
  std::vector<SpanningTree> trees;
  std::int64_t chunk_bytes = 0;
  std::int64_t chunks = 0;  // per tree
  bool up = false;
  bool down = false;
};

/// Positions of a group by node: `nodes[m]` lists the positions that live on the m-th node, in the
/// order of the group.
using NodeGroups = std::vector<std::vector<std::uint32_t>>;

/// Ring: AllReduce 2(N-1) steps, reduce-scatter and all-gather N-1, of ceil(bytes / N).
StagedPlan ring_plan(CollectiveKind kind, std::uint32_t ranks, std::int64_t bytes);

/// Recursive halving, then doubling (Rabenseifner 2004; Thakur, Rabenseifner, Gropp 2005, section
/// 3.2); ranks beyond a power of two first hand everything to a neighbour and get the result last.
StagedPlan halving_doubling_plan(std::uint32_t ranks, std::int64_t bytes);

/// Recursive doubling with everything in each message (same paper, section 3.1).
StagedPlan recursive_doubling_plan(std::uint32_t ranks, std::int64_t bytes);

/// Ring reduce-scatter inside each node, one ring AllReduce per GPU index between the nodes, ring
/// all-gather inside. All nodes must have the same number of ranks: `can_be_hierarchical`.
bool can_be_hierarchical(const NodeGroups& nodes);
StagedPlan hierarchical_plan(const NodeGroups& nodes, std::int64_t bytes);

/// Two complementary in-order binary trees over the nodes (Sanders, Speck, Traeff, "Two-tree
/// algorithms for full bandwidth broadcast, reduction and scan", 2009), each node's ranks in a
/// chain behind its first, as NCCL's Tree does. Half of the bytes each, in chunks of NCCL's buffer
/// slice (4 MiB / 8), at most 256 of them.
TreePlan double_tree_plan(const NodeGroups& nodes, std::int64_t bytes);

/// Binomial tree from position 0, unsegmented: reduce, then broadcast.
TreePlan reduce_broadcast_plan(std::uint32_t ranks, std::int64_t bytes);

/// Broadcast from position 0 along the chain 0, 1, 2, ... as NCCL's ring does, in the same chunks.
TreePlan chain_broadcast_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
