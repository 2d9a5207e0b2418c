#include "sim/collective/chain_broadcast.h"

#include <algorithm>

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

void Chain::run(std::span<const Tick> starts,
                std::span<Tick> ends,
                std::vector<Tick>& scratch) const {
  // scratch[c]: when chunk c has arrived at the present position.
  scratch.assign(static_cast<std::size_t>(chunks_), starts[0]);
  for (std::size_t i = 0; i < hop_.size(); ++i) {
    const Tick received = scratch.back();
    Tick delivered = starts[i];
    for (Tick& arrival : scratch) {
      delivered = std::max(delivered, arrival) + hop_[i];
      arrival = delivered;
    }
    check_clock(delivered);
    ends[i] = std::max(received, delivered);
  }
  ends[hop_.size()] = std::max(starts[hop_.size()], scratch.back());
}

}  // namespace vitsim
