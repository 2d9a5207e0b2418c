#include "sim/step/step_executor.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"
#include "sim/step/event_executor.h"

namespace vitsim {

namespace {

/// Feeds one step to every position and applies link changes on time.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never deleted by its bases.
class SingleStep final : public StepFeed, public EventHandler {
 public:
  SingleStep(FlowEngine& engine,
             const StepWork& work,
             std::span<const LinkChange> changes,
             std::span<Tick> ends)
      : engine_(engine), work_(work), changes_(changes), ends_(ends) {}

  const StepWork* next_step(std::uint32_t /*position*/, std::int64_t step) override {
    return step == 0 ? &work_ : nullptr;
  }

  void step_ended(std::uint32_t position,
                  std::int64_t /*step*/,
                  Tick /*begin*/,
                  Tick end) override {
    ends_[position] = end;
    ++ended_;
  }

  void on_event(std::uint32_t change) override {
    engine_.set_bandwidth(changes_[change].link, changes_[change].bandwidth);
  }

  [[nodiscard]] std::size_t ended() const { return ended_; }

 private:
  FlowEngine& engine_;
  StepWork work_;
  std::span<const LinkChange> changes_;
  std::span<Tick> ends_;
  std::size_t ended_ = 0;
};

}  // namespace

StepExecutor::StepExecutor(std::shared_ptr<const Communicator> group, const StepProgram& program)
    : program_(program), speeds_(program.positions()) {
  VITSIM_CHECK(std::size_t{group->size()}, ==, program.positions());
  check_program(program);
  groups_ = std::make_unique<const ProgramGroups>(std::move(group), program);
  if (auto arrays = ArrayExecutor::make(program_, *groups_)) {
    arrays_.emplace(std::move(*arrays));
  }
}

void StepExecutor::set_speed(std::size_t position, const std::vector<SlowInterval>& intervals) {
  speeds_[position] = ComputeSpeed(intervals);
}

void StepExecutor::run(const OperationTicks& ticks,
                       std::span<const Tick> starts,
                       std::span<Tick> step_end,
                       StepTimes* times) {
  if (arrays_) {
    arrays_->run(ticks, starts, speeds_, step_end, times);
  } else {
    run_events(ticks, starts, step_end, times);
  }
}

void StepExecutor::run_events(const OperationTicks& ticks,
                              std::span<const Tick> starts,
                              std::span<Tick> step_end,
                              StepTimes* times,
                              std::span<const LinkChange> changes) {
  VITSIM_CHECK(starts.size(), ==, positions());
  FlowEngine engine(groups_->network().links());
  SingleStep feed(engine, {.program = &program_, .ticks = &ticks}, changes, step_end);
  EventExecutor executor(engine, *groups_, speeds_, program_.most_operations(), feed);
  const HandlerId changer = engine.add_handler(feed);
  for (std::uint32_t i = 0; i < changes.size(); ++i) {
    engine.at(changes[i].at, changer, i);
  }
  for (std::uint32_t i = 0; i < positions(); ++i) {
    executor.begin(i, starts[i]);
  }
  engine.run();
  if (feed.ended() != positions()) {
    throw InternalError(
        fmt::format("a step does not end: {}", fmt::join(executor.waiting(), "; ")));
  }
  if (times != nullptr) {
    *times = executor.times();
  }
  events_ = engine.events();
}

}  // namespace vitsim
