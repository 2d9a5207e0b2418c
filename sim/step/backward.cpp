#include "sim/step/backward.h"

namespace vitsim {

Tick overlapped_backward(const ComputeSpeed& speed,
                         Tick at,
                         Tick work,
                         double overlap,
                         const std::vector<BusyInterval>& busy) {
  auto left = static_cast<double>(work);
  for (const BusyInterval& interval : busy) {
    if (interval.end <= at) {
      continue;
    }
    if (at < interval.begin) {
      const Tick finish = speed.finish(at, left, 1);
      if (finish <= interval.begin) {
        return finish;
      }
      left = speed.left_at(at, left, 1, interval.begin);
      at = interval.begin;
    }
    const Tick finish = speed.finish(at, left, overlap);
    if (finish <= interval.end) {
      return finish;
    }
    left = speed.left_at(at, left, overlap, interval.end);
    at = interval.end;
  }
  return speed.finish(at, left, 1);
}

}  // namespace vitsim
