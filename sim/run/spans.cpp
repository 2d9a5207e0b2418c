#include "sim/run/spans.h"

#include <algorithm>
#include <array>

namespace vitsim {

namespace {

std::int64_t bytes_of(const Operation& operation) {
  if (const Collective* collective = operation.collective()) {
    return collective->bytes;
  }
  return operation.transfer() == nullptr ? 0 : operation.transfer()->bytes;
}

}  // namespace

void append_spans(const StepProgram& program,
                  const StepTimes& times,
                  const AloneTimes& alone,
                  std::uint32_t position,
                  Tick begin,
                  const StepPlace& place,
                  std::vector<Span>& spans) {
  const auto nanoseconds = [&](Tick tick) {
    return static_cast<std::int64_t>((place.origin + tick + 500) / 1000);
  };
  const std::vector<Operation>& operations = program.of(position).operations;
  std::vector<OperationTime> mine;
  operation_times(program, times, alone, position, mine);
  constexpr std::size_t kNone = SIZE_MAX;
  std::array<std::size_t, kStreamNames.size()> last{};  // span of the stream's last operation
  last.fill(kNone);
  std::int64_t calls = 0;
  Tick computed_until = begin;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const auto stream = static_cast<std::size_t>(operations[i].stream);
    const bool computes = mine[i].stream != Stream::kCommunication;
    const bool calls_others = operations[i].compute() == nullptr;
    const std::int64_t call = calls;
    calls += calls_others ? 1 : 0;
    if (computes) {
      // In the gap before it, collectives that had not begun to communicate were waiting.
      for (std::size_t k = 0; k < i; ++k) {
        const Tick from = std::max(mine[k].begin, computed_until);
        const Tick to = std::min(mine[i].begin, mine[k].end - mine[k].alone);
        if (mine[k].stream == Stream::kCommunication && to > from) {
          spans.push_back({.rank = place.rank,
                           .stream = Stream::kCompute,
                           .step = place.step,
                           .phase = operations[k].phase,
                           .begin_ns = nanoseconds(from),
                           .end_ns = nanoseconds(to),
                           .straggler_wait = true,
                           .job = place.job});
        }
      }
      computed_until = std::max(computed_until, mine[i].end);
    }
    if (mine[i].end <= mine[i].begin) {
      continue;
    }
    const std::int64_t begin_ns = nanoseconds(mine[i].begin);
    const std::int64_t end_ns = nanoseconds(mine[i].end);
    if (computes && last[stream] != kNone && spans[last[stream]].phase == operations[i].phase &&
        spans[last[stream]].end_ns == begin_ns) {
      spans[last[stream]].end_ns = end_ns;
      continue;
    }
    last[stream] = spans.size();
    Span span{.rank = place.rank,
              .stream = operations[i].stream,
              .step = place.step,
              .phase = operations[i].phase,
              .begin_ns = begin_ns,
              .end_ns = end_ns,
              .bytes = bytes_of(operations[i]),
              .job = place.job};
    if (calls_others) {
      span.call = call;
    }
    spans.push_back(span);
  }
}

}  // namespace vitsim
