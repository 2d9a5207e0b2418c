#include "sim/collective/chain_broadcast.h"

namespace vitsim {

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
