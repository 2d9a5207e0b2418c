#include "trainer/recorder.h"

#include <algorithm>
#include <utility>

namespace vitsim {

Recorder::Recorder(Device& device, PhaseBoard& board, std::int64_t rank, bool keep)
    : device_(device), board_(board), rank_(rank), keep_(keep), origin_ns_(host_nanoseconds()) {}

Recorder::Scope::Scope(Recorder& recorder, Phase phase, Stream stream)
    : recorder_(recorder), phase_(phase), stream_(stream) {
  if (recorder_.keep_) {
    begin_ = recorder_.device_.mark();
  }
  recorder_.board_.enter(recorder_.step_.step, phase);
}

Recorder::Scope::~Scope() {
  if (!recorder_.keep_) {
    return;
  }
  const Mark end = end_ ? *end_ : recorder_.device_.mark();
  Mark begin = begin_;
  for (const Pause& pause : pauses_) {
    if (pause.begin.value >= end.value) {
      break;
    }
    recorder_.open_.push_back({phase_, stream_, begin, pause.begin, bytes_});
    begin = pause.end;
  }
  if (begin.value <= end.value) {
    recorder_.open_.push_back({phase_, stream_, begin, end, bytes_});
  }
}

void Recorder::begin_step(std::int64_t step, bool warm_up, bool full) {
  step_ = {.rank = rank_, .step = step, .warm_up = warm_up, .full = full};
  step_begin_ = device_.mark();
  device_.take_communication();  // those outside of steps are not a step's
}

void Recorder::end_step() {
  if (!keep_) {
    device_.synchronize();
    device_.take_communication();
    return;
  }
  const Mark end = device_.mark();
  device_.synchronize();
  const auto time = [&](Mark mark) { return device_.nanoseconds(mark) - origin_ns_; };
  step_.begin_ns = time(step_begin_);
  step_.end_ns = time(end);
  steps_.push_back(step_);
  const auto add_span =
      [&](Phase phase, Stream stream, std::int64_t begin, std::int64_t end_ns, std::int64_t bytes) {
        spans_.push_back({.rank = rank_,
                          .stream = stream,
                          .step = step_.step,
                          .phase = phase,
                          .begin_ns = begin,
                          .end_ns = end_ns,
                          .bytes = bytes,
                          .warm_up = step_.warm_up});
      };
  for (const Open& open : std::exchange(open_, {})) {
    add_span(open.phase, open.stream, time(open.begin), time(open.end), open.bytes);
  }
  // Collectives that ran beside compute have no phase of their own in the step.
  const auto records = device_.take_communication();
  for (const CommunicationRecord& record : records) {
    add_span(record.phase,
             Stream::kCommunication,
             record.begin_ns - origin_ns_,
             record.end_ns - origin_ns_,
             record.bytes);
  }
  if (gradients_back_ && !records.empty()) {
    const std::int64_t summed = records.back().end_ns - origin_ns_;
    add_span(Phase::kGradientAllReduce,
             Stream::kCommunication,
             summed,
             std::max(summed, time(*gradients_back_)),
             0);
  }
  gradients_back_.reset();
}

void Recorder::add(Phase phase, std::int64_t step, std::int64_t begin_ns, std::int64_t end_ns) {
  if (!keep_) {
    return;
  }
  spans_.push_back(
      {.rank = rank_, .step = step, .phase = phase, .begin_ns = begin_ns, .end_ns = end_ns});
}

std::vector<Span> Recorder::take_spans() {
  return std::exchange(spans_, {});
}

std::vector<StepTime> Recorder::take_steps() {
  return std::exchange(steps_, {});
}

}  // namespace vitsim
