#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/step/array_executor.h"
#include "sim/step/compute_speed.h"
#include "sim/step/groups.h"
#include "sim/step/program.h"
#include "sim/step/step_times.h"

namespace vitsim {

/// From `at` on a link has another bandwidth.
struct LinkChange {
  Tick at = 0;
  LinkId link = 0;
  BytesPerSecond bandwidth;
};

/// Single steps of one program on its ranks, by arrays where they are exact, else by events. Times
/// are ticks of whatever clock `starts` uses. Not thread-safe; threads take one executor each and
/// may share network and communicators.
class StepExecutor {
 public:
  /// `group` has the job's ranks in the order of positions; `program` must outlive it. Throws
  /// InternalError where the program makes no sense.
  StepExecutor(std::shared_ptr<const Communicator> group, const StepProgram& program);

  [[nodiscard]] std::size_t positions() const { return program_.positions(); }

  [[nodiscard]] const StepProgram& program() const { return program_; }

  [[nodiscard]] const ProgramGroups& groups() const { return *groups_; }

  /// Do arrays give the exact answer, or of a split model whose groups share links a near one, or
  /// does `run` take the event level?
  [[nodiscard]] bool by_arrays() const { return arrays_.has_value(); }

  /// Slowdowns and pauses of one rank, on the clock of `starts`.
  void set_speed(std::size_t position, const std::vector<SlowInterval>& intervals);

  /// One step from each position's start to `step_end`, which may be `starts`. `times`, if given,
  /// receives when every operation ran.
  void run(const OperationTicks& ticks,
           std::span<const Tick> starts,
           std::span<Tick> step_end,
           StepTimes* times = nullptr);

  /// The same at event level, with links that change while the step runs.
  void run_events(const OperationTicks& ticks,
                  std::span<const Tick> starts,
                  std::span<Tick> step_end,
                  StepTimes* times = nullptr,
                  std::span<const LinkChange> changes = {});

  /// Room for the times of one step.
  [[nodiscard]] StepTimes make_times() const { return {positions(), program_.most_operations()}; }

  /// Events that `run_events` popped in its last call.
  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  const StepProgram& program_;
  std::unique_ptr<const ProgramGroups> groups_;  // others point to it
  std::optional<ArrayExecutor> arrays_;
  std::vector<ComputeSpeed> speeds_;
  std::uint64_t events_ = 0;
};

}  // namespace vitsim
