#include "sim/collective/schedule.h"

#include <algorithm>
#include <bit>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

StagedPlan empty_plan(std::uint32_t ranks, std::uint32_t stages) {
  return {.ranks = ranks,
          .stages = stages,
          .entries = std::vector<Stage>(static_cast<std::size_t>(ranks) * stages)};
}

Stage& entry(StagedPlan& plan, std::uint32_t rank, std::uint32_t stage) {
  return plan.entries[static_cast<std::size_t>(rank) * plan.stages + stage];
}

/// A ring over `members`, as one stage of `plan`.
void set_ring(StagedPlan& plan,
              const std::vector<std::uint32_t>& members,
              std::uint32_t stage,
              std::int64_t bytes,
              std::uint32_t repeat) {
  const std::size_t n = members.size();
  for (std::size_t i = 0; i < n && n > 1; ++i) {
    entry(plan, members[i], stage) = {.to = members[(i + 1) % n],
                                      .from = members[(i + n - 1) % n],
                                      .bytes = bytes,
                                      .repeat = repeat};
  }
}

/// Ranks beyond the largest power of two hand their data to a neighbour in the first stage and get
/// the result in the last: of the first 2r ranks the even ones stand aside.
class Folding {
 public:
  explicit Folding(std::uint32_t ranks) : power_(std::bit_floor(ranks)), aside_(ranks - power_) {}

  [[nodiscard]] std::uint32_t power() const { return power_; }

  [[nodiscard]] std::uint32_t distances() const {
    return static_cast<std::uint32_t>(std::countr_zero(power_));
  }

  /// Position of the x-th rank that takes part.
  [[nodiscard]] std::uint32_t member(std::uint32_t x) const {
    return x < aside_ ? 2 * x + 1 : x + aside_;
  }

  void fold(StagedPlan& plan, std::int64_t bytes) const {
    const std::uint32_t last = plan.stages - 1;
    for (std::uint32_t i = 0; i < aside_; ++i) {
      entry(plan, 2 * i, 0) = {.to = 2 * i + 1, .bytes = bytes};
      entry(plan, 2 * i + 1, 0) = {.from = 2 * i, .bytes = bytes};
      entry(plan, 2 * i + 1, last) = {.to = 2 * i, .bytes = bytes};
      entry(plan, 2 * i, last) = {.from = 2 * i + 1, .bytes = bytes};
    }
  }

  void exchange(StagedPlan& plan,
                std::uint32_t stage,
                std::uint32_t distance,
                std::int64_t bytes) const {
    for (std::uint32_t x = 0; x < power_; ++x) {
      const std::uint32_t partner = member(x ^ distance);
      entry(plan, member(x), stage) = {.to = partner, .from = partner, .bytes = bytes};
    }
  }

 private:
  std::uint32_t power_;
  std::uint32_t aside_;
};

// NOLINTNEXTLINE(bugprone-implicit-widening-of-multiplication-result): far below 2^31.
constexpr std::int64_t kTreeChunk = 512 * 1024;
constexpr std::int64_t kMostChunks = 256;

void set_chunks(TreePlan& plan, std::int64_t bytes_per_tree) {
  plan.chunks = std::clamp<std::int64_t>(divide_up(bytes_per_tree, kTreeChunk), 1, kMostChunks);
  plan.chunk_bytes = divide_up(bytes_per_tree, plan.chunks);
}

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

StagedPlan ring_plan(CollectiveKind kind, std::uint32_t ranks, std::int64_t bytes) {
  StagedPlan plan = empty_plan(ranks, 1);
  std::vector<std::uint32_t> members(ranks);
  for (std::uint32_t i = 0; i < ranks; ++i) {
    members[i] = i;
  }
  const std::uint32_t phases = kind == CollectiveKind::kAllReduce ? 2 : 1;
  set_ring(plan, members, 0, divide_up(bytes, ranks), phases * (ranks - 1));
  return plan;
}

StagedPlan halving_doubling_plan(std::uint32_t ranks, std::int64_t bytes) {
  const Folding folding(ranks);
  const std::uint32_t rounds = folding.distances();
  StagedPlan plan = empty_plan(ranks, 2 + 2 * rounds);
  folding.fold(plan, bytes);
  std::int64_t part = bytes;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    part = divide_up(part, 2);
    folding.exchange(plan, 1 + round, 1U << round, part);
    folding.exchange(plan, 2 * rounds - round, 1U << round, part);
  }
  return plan;
}

StagedPlan recursive_doubling_plan(std::uint32_t ranks, std::int64_t bytes) {
  const Folding folding(ranks);
  const std::uint32_t rounds = folding.distances();
  StagedPlan plan = empty_plan(ranks, 2 + rounds);
  folding.fold(plan, bytes);
  for (std::uint32_t round = 0; round < rounds; ++round) {
    folding.exchange(plan, 1 + round, 1U << round, bytes);
  }
  return plan;
}

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

TreePlan reduce_broadcast_plan(std::uint32_t ranks, std::int64_t bytes) {
  SpanningTree tree{.parent = std::vector<std::uint32_t>(ranks)};
  for (std::uint32_t i = 1; i < ranks; ++i) {
    tree.parent[i] = i & (i - 1);
  }
  return {
      .ranks = ranks, .trees = {tree}, .chunk_bytes = bytes, .chunks = 1, .up = true, .down = true};
}

TreePlan chain_broadcast_plan(std::uint32_t ranks, std::int64_t bytes) {
  SpanningTree tree{.parent = std::vector<std::uint32_t>(ranks)};
  for (std::uint32_t i = 1; i < ranks; ++i) {
    tree.parent[i] = i - 1;
  }
  TreePlan plan{.ranks = ranks, .trees = {tree}, .down = true};
  set_chunks(plan, bytes);
  return plan;
}

}  // namespace vitsim
