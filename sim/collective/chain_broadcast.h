#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/collective/plan.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// Broadcast from position 0 along the chain 0, 1, 2, ... as NCCL's ring does, in the same chunks.
TreePlan chain_broadcast_plan(std::uint32_t ranks, std::int64_t bytes);

/// The chain alone on its links, without events.
///
/// `hop[i]` is what a chunk takes from position i to i+1. A position sends chunk c once it has
/// started, has the chunk, and its chunk c-1 is delivered:
///
///   d_i[c] = max(start_i, d_{i-1}[c], d_i[c-1]) + hop_i
///
/// It is done when it has sent and received everything. Costs ranks x chunks.
class Chain {
 public:
  Chain(std::vector<Tick> hop, std::int64_t chunks) : hop_(std::move(hop)), chunks_(chunks) {}

  /// `ends` may be `starts`. Throws UserError where the end would lie beyond the clock.
  void run(std::span<const Tick> starts, std::span<Tick> ends, std::vector<Tick>& scratch) const;

 private:
  std::vector<Tick> hop_;  // one fewer than positions
  std::int64_t chunks_ = 1;
};

}  // namespace vitsim
