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

/// Last parts of communication, in the order in which they begin.
struct Part {
  Interval interval;
  std::size_t operation = 0;
};

/// Adds to each operation what of the gap is its own.
void share_gap(const Interval& gap,
               const std::vector<Part>& parts,
               std::vector<std::int64_t>& exposed) {
  std::int64_t told = gap.begin;
  for (const Part& part : parts) {
    if (part.interval.begin >= gap.end) {
      break;
    }
    const std::int64_t from = std::max(told, part.interval.begin);
    const std::int64_t to = std::min(gap.end, part.interval.end);
    if (to > from) {
      exposed[part.operation] += to - from;
      told = to;
    }
  }
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
                    std::int64_t end,
                    std::vector<std::int64_t>* exposed) {
  StepAccount sum;
  std::vector<Interval> calls;          // all of each communication
  std::vector<Interval> communicating;  // its last part
  for (const OperationTime& operation : operations) {
    std::int64_t& phase = sum.phases[static_cast<std::size_t>(operation.phase)];
    if (!is_communication(operation.stream)) {
      phase += operation.end - operation.begin;
      continue;
    }
    phase += operation.alone;
    sum.communication += operation.alone;
    calls.push_back({operation.begin, operation.end});
    communicating.push_back(
        {std::max(operation.begin, operation.end - operation.alone), operation.end});
  }
  std::vector<Part> parts;
  if (exposed != nullptr) {
    exposed->assign(operations.size(), 0);
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const OperationTime& each = operations[i];
      if (is_communication(each.stream)) {
        parts.push_back({{std::max(each.begin, each.end - each.alone), each.end}, i});
      }
    }
    std::ranges::stable_sort(parts, {}, [](const Part& part) { return part.interval.begin; });
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
    if (exposed != nullptr) {
      share_gap(gap, parts, *exposed);
    }
    sum.wait += in_calls - communication;
    sum.idle += gap.end - gap.begin - in_calls;
  };
  std::int64_t now = begin;
  for (const OperationTime& operation : operations) {
    if (!is_communication(operation.stream)) {
      add_gap({now, operation.begin});
      now = std::max(now, operation.end);
    }
  }
  add_gap({now, end});
  return sum;
}

}  // namespace vitsim
