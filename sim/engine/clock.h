#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "models/error.h"
#include "models/units.h"
#include "models/wide_integer.h"

namespace vitsim {

/// Simulated time: picoseconds since the start of an epoch (106 days fit).
using Tick = std::int64_t;

inline constexpr Tick kTicksPerSecond = 1'000'000'000'000;

/// The one place where durations become ticks: rounds half up. Throws UserError where the result
/// would not fit the clock, or is negative or not finite.
Tick to_ticks(Seconds duration);

/// Ticks that `bytes` take at `bandwidth`, rounded half up without the double's own rounding where
/// both are whole numbers, so that ties round as integer arithmetic would.
Tick transfer_ticks(std::int64_t bytes, BytesPerSecond bandwidth);

/// No event may lie later; durations up to half of it can be added without overflow.
inline constexpr Tick kLatestTick = std::numeric_limits<Tick>::max() / 2;

/// Throws UserError where `time` is beyond the clock.
inline void check_clock(Tick time) {
  if (time > kLatestTick) {
    throw UserError("the simulation runs beyond its clock (53 days)");
  }
}

constexpr Seconds to_seconds(Tick ticks) {
  return Seconds(static_cast<double>(ticks) * 1e-12);
}

}  // namespace vitsim
