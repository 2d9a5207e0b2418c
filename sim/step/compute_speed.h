#pragma once

#include <vector>

#include "sim/step/work.h"

namespace vitsim {

/// How fast one rank computes over time, and how far it gets.
///
/// Work is counted in ticks at full speed. It passes at 1 / (factor x the interval's factor); work
/// left over at a change of pace is a double, a finish is rounded half up.
class ComputeSpeed {
 public:
  ComputeSpeed() = default;

  /// Overlapping intervals multiply. Throws UserError where a factor is not positive or an interval
  /// ends before it begins.
  explicit ComputeSpeed(const std::vector<SlowInterval>& intervals);

  [[nodiscard]] bool is_constant() const { return intervals_.empty(); }

  /// When `left` of work is done that goes on from `at` at `factor`. Throws UserError where that
  /// is never.
  [[nodiscard]] Tick finish(Tick at, double left, double factor) const;

  /// What of `left` remains at `until`, before the finish.
  [[nodiscard]] double left_at(Tick at, double left, double factor, Tick until) const;

  /// When a wait of `duration` is over that only pauses, not slowdowns, prolong.
  [[nodiscard]] Tick finish_waiting(Tick at, Tick duration) const;

 private:
  std::vector<SlowInterval> intervals_;  // disjoint, rising
};

}  // namespace vitsim
