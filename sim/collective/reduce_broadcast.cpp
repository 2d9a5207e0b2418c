#include "sim/collective/reduce_broadcast.h"

namespace vitsim {

TreePlan reduce_broadcast_plan(std::uint32_t ranks, std::int64_t bytes) {
  SpanningTree tree{.parent = std::vector<std::uint32_t>(ranks)};
  for (std::uint32_t i = 1; i < ranks; ++i) {
    tree.parent[i] = i & (i - 1);
  }
  return {
      .ranks = ranks, .trees = {tree}, .chunk_bytes = bytes, .chunks = 1, .up = true, .down = true};
}

}  // namespace vitsim
