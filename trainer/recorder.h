#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "models/report/timeline.h"
#include "trainer/device.h"
#include "trainer/measured_report.h"
#include "trainer/phase_board.h"

namespace vitsim {

/// Writes down what this rank does when. Costs two clock readings (or CUDA events) a phase; the
/// device is synchronised once, at the end of a step.
class Recorder {
 public:
  /// Times count from now: construct it right after a barrier. Without `keep` it only tells the
  /// board what goes on, and has no spans and steps.
  Recorder(Device& device, PhaseBoard& board, std::int64_t rank, bool keep = true);

  void begin_step(std::int64_t step, bool warm_up, bool full);
  void end_step();

  /// A phase lasts as long as this object.
  class Scope {
   public:
    Scope(Recorder& recorder, Phase phase, Stream stream);
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

    /// Ends the phase at a point that has gone by already.
    void end_at(std::optional<Mark> mark) { end_ = mark; }

    /// Stretches in which the phase did not go on: it is recorded in the pieces between them. In
    /// order of time; what lies behind the phase's end does not count.
    void leave_out(std::vector<Pause> pauses) { pauses_ = std::move(pauses); }

    void set_bytes(std::int64_t bytes) { bytes_ = bytes; }

   private:
    Recorder& recorder_;
    Phase phase_;
    Stream stream_;
    Mark begin_;
    std::optional<Mark> end_;
    std::vector<Pause> pauses_;
    std::int64_t bytes_ = 0;
  };

  [[nodiscard]] Scope phase(Phase phase, Stream stream = Stream::kCompute) {
    return {*this, phase, stream};
  }

  /// Gradients that were summed beside backward have come back to where the optimizer reads them:
  /// what this takes after the last AllReduce belongs to gradient_all_reduce, with no bytes.
  void gradients_are_back() { gradients_back_ = device_.mark(); }

  /// A phase outside of steps: evaluate, checkpoint, epoch_barrier. On the host's clock.
  void add(Phase phase, std::int64_t step, std::int64_t begin_ns, std::int64_t end_ns);

  /// What was recorded since the last call.
  std::vector<Span> take_spans();
  std::vector<StepTime> take_steps();

  [[nodiscard]] std::int64_t now_ns() const { return host_nanoseconds() - origin_ns_; }

 private:
  struct Open {
    Phase phase = Phase::kOther;
    Stream stream = Stream::kCompute;
    Mark begin;
    Mark end;
    std::int64_t bytes = 0;
  };

  Device& device_;
  PhaseBoard& board_;
  std::int64_t rank_;
  bool keep_;
  std::int64_t origin_ns_;
  StepTime step_;
  Mark step_begin_;
  std::optional<Mark> gradients_back_;
  std::vector<Open> open_;  // of the current step
  std::vector<Span> spans_;
  std::vector<StepTime> steps_;
};

}  // namespace vitsim
