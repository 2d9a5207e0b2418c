#pragma once

#include <cstdint>
#include <span>

#include "sim/engine/clock.h"

namespace vitsim {

/// AllReduce on a ring, steps = 2(N-1), in N log N operations whatever the hops: see
/// ring_paths.cpp. Equal to the recurrence of ring.h to the tick; `ends` may be `starts`.
/// Needs `ring_paths_fit`.
void ring_all_reduce_by_paths(std::span<const Tick> hop,
                              std::span<const Tick> starts,
                              std::span<Tick> ends);

/// Do all sums of `ring_all_reduce_by_paths` fit 64 bits? `spread` is the difference between the
/// last start and the first, `largest` the largest hop, `ranks` the size of the ring. True for
/// anything that ends within ten days.
bool ring_paths_fit(Tick spread, Tick largest, std::int64_t ranks);

}  // namespace vitsim
