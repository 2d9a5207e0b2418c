#include "sim/run/failure_timeline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace vitsim {

namespace {

std::int64_t nanoseconds(Seconds time) {
  return std::llround(time.value() * 1e9);
}

/// From here on a run need not go back: what was trained up to and including `step`.
struct Secured {
  std::int64_t whole_ns = 0;   // from when on
  std::int64_t resume_ns = 0;  // begin of what comes after it
  std::int64_t step = -1;
};

std::int64_t last_end(const std::vector<Span>& spans) {
  std::int64_t end = 0;
  for (const Span& span : spans) {
    end = std::max(end, span.end_ns);
  }
  return end;
}

// Checkpoints behind every so many steps; returns when each was whole.
std::vector<Secured> add_checkpoints(std::vector<Span>& spans,
                                     const CheckpointPlan& checkpoints,
                                     const std::set<std::int64_t>& ranks,
                                     std::int64_t start_ns) {
  std::vector<Secured> secured = {{.whole_ns = start_ns, .resume_ns = start_ns}};
  if (checkpoints.steps == 0) {
    return secured;
  }
  std::map<std::int64_t, std::int64_t> end_of_step;
  for (const Span& span : spans) {
    std::int64_t& end = end_of_step[span.step];
    end = std::max(end, span.end_ns);
  }
  const std::int64_t cost = nanoseconds(checkpoints.cost);
  const std::int64_t stop = checkpoints.is_asynchronous ? 0 : cost;
  for (Span& span : spans) {
    const std::int64_t before = span.step / checkpoints.steps;
    span.begin_ns += before * stop;
    span.end_ns += before * stop;
  }
  const std::int64_t job = spans.empty() ? 0 : spans.front().job;
  for (const auto& [step, end] : end_of_step) {
    if ((step + 1) % checkpoints.steps != 0) {
      continue;
    }
    const std::int64_t begin = end + (step / checkpoints.steps) * stop;
    secured.push_back({.whole_ns = begin + cost, .resume_ns = begin + stop, .step = step});
    for (const std::int64_t rank : ranks) {
      spans.push_back({.rank = rank,
                       .stream = checkpoints.is_asynchronous ? Stream::kCopy : Stream::kCompute,
                       .step = step,
                       .phase = Phase::kCheckpoint,
                       .begin_ns = begin,
                       .end_ns = begin + cost,
                       .job = job});
    }
  }
  return secured;
}

}  // namespace

void add_failures(std::vector<Span>& spans,
                  const CheckpointPlan& checkpoints,
                  const std::vector<GivenFailure>& failures,
                  Seconds start) {
  std::set<std::int64_t> ranks;
  for (const Span& span : spans) {
    ranks.insert(span.rank);
  }
  std::vector<Secured> secured = add_checkpoints(spans, checkpoints, ranks, nanoseconds(start));
  const std::int64_t job = spans.empty() ? 0 : spans.front().job;
  for (const GivenFailure& failure : failures) {
    const std::int64_t at = nanoseconds(start + failure.at);
    if (at >= last_end(spans)) {
      break;
    }
    Secured from;
    for (const Secured& each : secured) {
      from = each.whole_ns <= at && each.step >= from.step ? each : from;
    }
    const std::int64_t up = at + nanoseconds(failure.restart);
    const std::int64_t shift = up - from.resume_ns;
    std::vector<Span> after;
    for (const Span& span : spans) {
      const bool again = span.begin_ns >= from.resume_ns && span.step > from.step;
      if (again) {
        after.push_back(span);
        after.back().begin_ns += shift;
        after.back().end_ns += shift;
      }
    }
    std::erase_if(spans, [&](const Span& span) { return span.begin_ns >= at; });
    for (Span& span : spans) {
      span.end_ns = std::min(span.end_ns, at);
    }
    for (const std::int64_t rank : ranks) {
      spans.push_back({.rank = rank,
                       .stream = Stream::kCompute,
                       .step = from.step + 1,
                       .phase = Phase::kRestart,
                       .begin_ns = at,
                       .end_ns = up,
                       .job = job});
    }
    spans.insert(spans.end(), after.begin(), after.end());
    for (Secured& each : secured) {
      if (each.step > from.step) {
        each.whole_ns += shift;
        each.resume_ns += shift;
      }
    }
  }
}

}  // namespace vitsim
