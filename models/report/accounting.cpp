#include "models/report/accounting.h"

#include <algorithm>

namespace vitsim {

namespace {

struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Merges overlapping intervals; several communication streams may run at once.
void unite(std::vector<Interval>& intervals) {
  std::ranges::sort(intervals, {}, &Interval::begin);
  std::size_t kept = 0;
  for (const Interval& interval : intervals) {
    if (interval.end <= interval.begin) {
      continue;
    }
    if (kept > 0 && interval.begin <= intervals[kept - 1].end) {
      intervals[kept - 1].end = std::max(intervals[kept - 1].end, interval.end);
    } else {
      intervals[kept++] = interval;
    }
  }
  intervals.resize(kept);
}

// Part of the gap that the intervals, disjoint and rising, cover.
std::int64_t covered(const Interval& gap, const std::vector<Interval>& intervals) {
  std::int64_t sum = 0;
  auto at = std::ranges::upper_bound(intervals, gap.begin, {}, &Interval::end);
  for (; at != intervals.end() && at->begin < gap.end; ++at) {
    sum += std::min(at->end, gap.end) - std::max(at->begin, gap.begin);
  }
  return sum;
}

}  // namespace

std::int64_t StepAccount::compute() const {
  std::int64_t sum = 0;
  for (const Phase each :
       {Phase::kDataLoad, Phase::kForward, Phase::kBackward, Phase::kOptimizer, Phase::kOther}) {
    sum += phase(each);
  }
  return sum;
}

StepAccount account(std::span<const OperationTime> operations,
                    std::int64_t begin,
                    std::int64_t end) {
  StepAccount sum;
  std::vector<Interval> calls;          // all of each communication
  std::vector<Interval> communicating;  // its last part
  for (const OperationTime& operation : operations) {
    std::int64_t& phase = sum.phases[static_cast<std::size_t>(operation.phase)];
    if (operation.stream != Stream::kCommunication) {
      phase += operation.end - operation.begin;
      continue;
    }
    phase += operation.alone;
    sum.communication += operation.alone;
    calls.push_back({operation.begin, operation.end});
    communicating.push_back(
        {std::max(operation.begin, operation.end - operation.alone), operation.end});
  }
  unite(calls);
  unite(communicating);
  const auto add_gap = [&](Interval gap) {
    if (gap.end <= gap.begin) {
      return;
    }
    const std::int64_t communication = covered(gap, communicating);
    const std::int64_t in_calls = covered(gap, calls);
    sum.exposed += communication;
    sum.wait += in_calls - communication;
    sum.idle += gap.end - gap.begin - in_calls;
  };
  std::int64_t now = begin;
  for (const OperationTime& operation : operations) {
    if (operation.stream != Stream::kCommunication) {
      add_gap({now, operation.begin});
      now = std::max(now, operation.end);
    }
  }
  add_gap({now, end});
  return sum;
}

}  // namespace vitsim
