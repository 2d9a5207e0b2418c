#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace vitsim {

/// `a / b` rounded up; `b` is positive.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Positions of a group by node: `nodes[m]` lists the positions that live on the m-th node, in the
/// order of the group.
using NodeGroups = std::vector<std::vector<std::uint32_t>>;

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

  [[nodiscard]] Stage& at(std::uint32_t rank, std::uint32_t stage) {
    return entries[static_cast<std::size_t>(rank) * stages + stage];
  }

  [[nodiscard]] const Stage& at(std::uint32_t rank, std::uint32_t stage) const {
    return entries[static_cast<std::size_t>(rank) * stages + stage];
  }
};

/// A plan in which nobody sends anything yet.
StagedPlan empty_plan(std::uint32_t ranks, std::uint32_t stages);

/// Makes `stage` a ring over `members`: each sends `repeat` messages of `bytes` to the next.
void set_ring(StagedPlan& plan,
              const std::vector<std::uint32_t>& members,
              std::uint32_t stage,
              std::int64_t bytes,
              std::uint32_t repeat);

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
  std::uint32_t rails = 1;  // trees 2k and 2k+1 go by NIC number k of each node
};

/// Cuts what one tree carries into chunks of NCCL's buffer slice (4 MiB / 8), at most 256 of them.
void set_chunks(TreePlan& plan, std::int64_t bytes_per_tree);

}  // namespace vitsim
