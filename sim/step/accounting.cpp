#include "sim/step/accounting.h"

#include <algorithm>

namespace vitsim {

namespace {

void append_alone_times(const Communicator& group,
                        const std::vector<SyncCall>& calls,
                        Tick overhead,
                        std::vector<std::vector<Tick>>& times) {
  const std::vector<Tick> together(group.size(), overhead);
  const std::size_t first = times.size();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const auto same = std::find_if(
        calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(i), [&](const SyncCall& other) {
          return other.bytes == calls[i].bytes && other.algorithm == calls[i].algorithm;
        });
    const auto earlier = static_cast<std::size_t>(same - calls.begin());
    if (earlier < i) {
      times.push_back(times[first + earlier]);
    } else {
      times.push_back(group.run(calls[i].kind, calls[i].algorithm, calls[i].bytes, together));
    }
  }
}

}  // namespace

Accounted account(const SyncCalls& calls,
                  const std::vector<std::vector<Tick>>& alone,
                  const std::vector<std::vector<Tick>>& begins,
                  const std::vector<std::vector<Tick>>& ends,
                  std::size_t position,
                  Tick ready,
                  Tick sync_end) {
  const std::size_t reductions = calls.reductions.size();
  Accounted sum{.exposed = 0, .wait = sync_end - ready};
  for (std::size_t k = 0; k < begins.size(); ++k) {
    const Tick begin = begins[k][position];
    const Tick end = ends[k][position];
    const Tick communicates = std::max(begin, end - alone[k][position]);
    const Tick visible_from = k < reductions ? ready : begin;
    const Tick visible = std::max<Tick>(0, end - std::max(communicates, visible_from));
    sum.exposed += visible;
    sum.wait += k < reductions ? -visible : end - begin - visible;
  }
  return sum;
}

std::vector<std::vector<Tick>> alone_times(const Communicator& group,
                                           const SyncCalls& calls,
                                           Tick overhead) {
  std::vector<std::vector<Tick>> times;
  append_alone_times(group, calls.reductions, overhead, times);
  append_alone_times(group, calls.gathers, overhead, times);
  return times;
}

void count_late(const std::vector<Tick>& ready, double steps, std::vector<double>& late_steps) {
  const Tick latest = *std::max_element(ready.begin(), ready.end());
  const auto sharers = std::count(ready.begin(), ready.end(), latest);
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (ready[i] == latest) {
      late_steps[i] += steps / static_cast<double>(sharers);
    }
  }
}

}  // namespace vitsim
