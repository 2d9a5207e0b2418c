#pragma once

#include <cmath>
#include <vector>

#include "sim/step/compute_stream.h"

namespace vitsim {

/// A backward pass without communication beside it.
inline void run_backward(ComputeStream& stream, const MicroBatchWork& batch) {
  stream.compute(Phase::kBackward, batch.backward);
}

/// Part of the last backward between the readiness of one bucket and the next: ticks at full speed.
/// Both ends are rounded, so that the parts add up to the whole.
inline Tick backward_part(Tick backward, double from_share, double to_share) {
  const auto until = [&](double share) {
    return static_cast<Tick>(std::floor(static_cast<double>(backward) * share + 0.5));
  };
  return until(to_share) - until(from_share);
}

/// A stretch in which a rank's communication stream is busy.
struct BusyInterval {
  Tick begin = 0;
  Tick end = 0;
};

/// Backward for `work` ticks of full speed from `at`, slowed by `overlap` while one of the `busy`
/// intervals (disjoint, rising) runs. Returns the finish.
Tick overlapped_backward(const ComputeSpeed& speed,
                         Tick at,
                         Tick work,
                         double overlap,
                         const std::vector<BusyInterval>& busy);

}  // namespace vitsim
