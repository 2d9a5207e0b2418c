#include "sim/step/compute_speed.h"

#include <algorithm>
#include <cmath>

#include "models/error.h"

namespace vitsim {

namespace {

/// `duration` ticks after `at`, rounded half up.
Tick after(Tick at, double duration) {
  constexpr double kLongest = 0x1p61;
  if (!(duration < kLongest)) {
    throw UserError("a computation ends beyond the simulator's clock (26 days)");
  }
  return at + static_cast<Tick>(std::floor(duration + 0.5));
}

}  // namespace

ComputeSpeed::ComputeSpeed(const std::vector<SlowInterval>& intervals) {
  std::vector<Tick> edges;
  for (const SlowInterval& interval : intervals) {
    if (!(interval.factor > 0) || interval.to < interval.from) {
      throw UserError("a slowdown needs a positive factor and an end after its beginning");
    }
    edges.push_back(interval.from);
    edges.push_back(interval.to);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    double factor = 1;
    for (const SlowInterval& interval : intervals) {
      if (interval.from <= edges[i] && edges[i + 1] <= interval.to) {
        factor *= interval.factor;
      }
    }
    if (factor != 1) {
      intervals_.push_back({.from = edges[i], .to = edges[i + 1], .factor = factor});
    }
  }
}

Tick ComputeSpeed::finish(Tick at, double left, double factor) const {
  if (left == 0) {
    return at;
  }
  for (const SlowInterval& slow : intervals_) {
    if (slow.to <= at) {
      continue;
    }
    if (at < slow.from) {
      const Tick end = after(at, left * factor);
      if (end <= slow.from) {
        return end;
      }
      left -= static_cast<double>(slow.from - at) / factor;
      at = slow.from;
    }
    if (std::isfinite(slow.factor)) {
      const Tick end = after(at, left * factor * slow.factor);
      if (end <= slow.to) {
        return end;
      }
    }
    left -= static_cast<double>(slow.to - at) / (factor * slow.factor);
    at = slow.to;
  }
  return after(at, std::max(0.0, left) * factor);
}

double ComputeSpeed::left_at(Tick at, double left, double factor, Tick until) const {
  for (const SlowInterval& slow : intervals_) {
    if (slow.to <= at || slow.from >= until) {
      continue;
    }
    if (at < slow.from) {
      left -= static_cast<double>(slow.from - at) / factor;
      at = slow.from;
    }
    const Tick end = std::min(slow.to, until);
    left -= static_cast<double>(end - at) / (factor * slow.factor);
    at = end;
  }
  return std::max(0.0, left - static_cast<double>(until - at) / factor);
}

Tick ComputeSpeed::finish_waiting(Tick at, Tick duration) const {
  Tick end = at + duration;
  if (duration == 0) {
    return end;
  }
  for (const SlowInterval& slow : intervals_) {
    if (!std::isfinite(slow.factor) && slow.from < end && slow.to > at) {
      end += slow.to - std::max(slow.from, at);
    }
  }
  return end;
}

Tick ComputeSpeed::finish_beside(Tick at, Tick work, double overlap, BusyInterval busy) const {
  auto left = static_cast<double>(work);
  if (busy.end > at) {
    if (at < busy.begin) {
      const Tick end = finish(at, left, 1);
      if (end <= busy.begin) {
        return end;
      }
      left = left_at(at, left, 1, busy.begin);
      at = busy.begin;
    }
    const Tick end = finish(at, left, overlap);
    if (end <= busy.end) {
      return end;
    }
    left = left_at(at, left, overlap, busy.end);
    at = busy.end;
  }
  return finish(at, left, 1);
}

}  // namespace vitsim
