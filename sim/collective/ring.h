#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/collective/algorithm.h"
#include "sim/collective/plan.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// Ring: AllReduce 2(N-1) steps, reduce-scatter and all-gather N-1, of ceil(bytes / N).
StagedPlan ring_plan(CollectiveKind kind, std::uint32_t ranks, std::int64_t bytes);

/// Ring collectives alone on their links, without an event queue.
///
/// `hop[i]` is what a message from position i to position i+1 (mod N) takes, latency and transfer,
/// each rounded. In every ring step each position sends to the next and receives from the one
/// before, and goes on when both are done:
///
///   e_i[0] = start_i,   e_i[k] = max(e_i[k-1] + hop_i, e_{i-1}[k-1] + hop_{i-1})
///
/// AllReduce makes 2(N-1) such steps, reduce-scatter and all-gather N-1. All functions below give
/// e[steps] of this recurrence to the tick; `ends` may be `starts`.

/// The recurrence itself: steps x N operations.
void ring_by_recurrence(std::span<const Tick> hop,
                        std::int64_t steps,
                        std::span<const Tick> starts,
                        std::span<Tick> ends,
                        std::vector<Tick>& scratch);

/// AllReduce, steps = 2(N-1), in N log N operations: see ring.cpp. Throws UserError where the end
/// would overflow the clock.
void ring_all_reduce_by_paths(std::span<const Tick> hop,
                              std::span<const Tick> starts,
                              std::span<Tick> ends);

/// The cheapest of: closed form where all hops are equal and steps >= N-1 (everybody ends at
/// max(start) + steps x hop), paths for long AllReduces, the recurrence.
void ring_ends(std::span<const Tick> hop,
               std::int64_t steps,
               std::span<const Tick> starts,
               std::span<Tick> ends,
               std::vector<Tick>& scratch);

}  // namespace vitsim
