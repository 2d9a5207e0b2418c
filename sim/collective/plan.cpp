#include "sim/collective/plan.h"

#include <algorithm>

namespace vitsim {

namespace {

// NOLINTNEXTLINE(bugprone-implicit-widening-of-multiplication-result): far below 2^31.
constexpr std::int64_t kTreeChunk = 512 * 1024;
constexpr std::int64_t kMostChunks = 256;

}  // namespace

StagedPlan empty_plan(std::uint32_t ranks, std::uint32_t stages) {
  return {.ranks = ranks,
          .stages = stages,
          .entries = std::vector<Stage>(static_cast<std::size_t>(ranks) * stages)};
}

void set_ring(StagedPlan& plan,
              const std::vector<std::uint32_t>& members,
              std::uint32_t stage,
              std::int64_t bytes,
              std::uint32_t repeat) {
  const std::size_t n = members.size();
  for (std::size_t i = 0; i < n && n > 1; ++i) {
    plan.at(members[i], stage) = {.to = members[(i + 1) % n],
                                  .from = members[(i + n - 1) % n],
                                  .bytes = bytes,
                                  .repeat = repeat};
  }
}

void set_chunks(TreePlan& plan, std::int64_t bytes_per_tree) {
  plan.chunks = std::clamp<std::int64_t>(divide_up(bytes_per_tree, kTreeChunk), 1, kMostChunks);
  plan.chunk_bytes = divide_up(bytes_per_tree, plan.chunks);
}

}  // namespace vitsim
