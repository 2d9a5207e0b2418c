#pragma once

#include <vector>

#include "sim/engine/clock.h"

namespace vitsim {

/// A stretch of time in which a rank computes `factor` times slower; infinity: it stands still.
struct SlowInterval {
  Tick from = 0;
  Tick to = 0;
  double factor = 1;
};

/// A stretch in which a rank's communication stream is busy.
struct BusyInterval {
  Tick begin = 0;
  Tick end = 0;
};

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

  /// When `work` ticks of full speed are done from `at`, slowed by `overlap` while the rank's
  /// communication stream is `busy`.
  [[nodiscard]] Tick finish_beside(Tick at, Tick work, double overlap, BusyInterval busy) const;

 private:
  std::vector<SlowInterval> intervals_;  // disjoint, rising
};

}  // namespace vitsim
