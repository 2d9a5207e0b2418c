#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/collective/event_collective.h"
#include "sim/step/compute_speed.h"
#include "sim/step/gradient_all_reduce.h"
#include "sim/step/work.h"

namespace vitsim {

/// Where the steps of a job come from and go to, at event level.
class StepFeed {
 public:
  virtual ~StepFeed() = default;

  /// Work of one position's step, or nullptr where the job is over for it.
  virtual const RankWork* next_step(std::uint32_t position, std::int64_t step) = 0;

  /// The position has ended its step; `end` is now.
  virtual void step_ended(std::uint32_t position, std::int64_t step, Tick end) = 0;
};

/// When things happened in one position's step.
struct EventStepTimes {
  Tick ready = 0;
  Tick sync_end = 0;
};

/// A training job at event level: every rank a little machine that computes, launches collectives
/// on its communication stream and waits for them. Several jobs may share one engine. Ranks run on
/// into their next step by themselves, as the feed allows.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never deleted by its bases.
class EventJob final : public EventHandler, public CollectiveListener {
 public:
  EventJob(FlowEngine& engine,
           const Communicator& group,
           const SyncPlan& plan,
           const SyncCalls& calls,
           const std::vector<ComputeSpeed>& speeds,
           StepFeed& feed);

  /// Position `position` begins its first step at `time`.
  void begin(std::uint32_t position, Tick time);

  /// A position that next_step() had stopped asks again, at `time`.
  void resume(std::uint32_t position, Tick time) { begin(position, time); }

  void on_event(std::uint32_t tag) override;
  void collective_done(std::uint32_t collective, std::uint32_t position) override;

  [[nodiscard]] const std::vector<EventStepTimes>& times() const { return times_; }

  /// By call (reductions, then gathers) and position, of the position's last step.
  [[nodiscard]] std::vector<std::vector<Tick>>& call_begins() { return begins_; }

  [[nodiscard]] std::vector<std::vector<Tick>>& call_ends() { return ends_; }

  /// Who waits for what, where a step is not over.
  [[nodiscard]] std::vector<std::string> waiting() const;

  void note_spans(std::vector<StepSpan>* spans) { spans_ = spans; }

 private:
  enum class At : std::uint8_t {
    kIdle,
    kLoad,
    kForward,
    kBackward,      // an earlier micro-batch
    kLastBackward,  // in parts, one per bucket
    kSync,
    kOptimizer,
    kGather,
    kOther
  };

  struct Machine {
    At at = At::kIdle;
    const RankWork* work = nullptr;
    std::int64_t step = 0;
    std::size_t micro_batch = 0;
    std::size_t part = 0;  // of the last backward: ends with the readiness of that bucket
    double left = 0;       // work of the part at `since`
    Tick since = 0;
    Tick phase_begin = 0;
    Tick finish = 0;           // of the running phase
    std::size_t ready = 0;     // calls that may run
    std::size_t launched = 0;  // calls taken up
    std::size_t done = 0;
  };

  [[nodiscard]] double overlap(std::uint32_t position) const {
    return plan_.overlap_slowdown.empty() ? 1.0 : plan_.overlap_slowdown[position];
  }

  [[nodiscard]] Tick now() const { return engine_.now(); }

  [[nodiscard]] std::int64_t bytes_of(std::size_t call) const;
  EventCollective& collective(std::int64_t step, std::size_t call);
  void begin_step(std::uint32_t position);
  void enter(std::uint32_t position, At at);
  void phase_over(std::uint32_t position);
  void begin_part(std::uint32_t position);
  void part_over(std::uint32_t position);
  void wake_at(std::uint32_t position, Tick time);
  void change_pace(std::uint32_t position, double old_factor, double new_factor);
  bool launch(std::uint32_t position);
  void note(
      std::uint32_t position, Stream stream, Phase phase, Tick begin, std::int64_t bytes = 0) const;

  FlowEngine& engine_;
  const SyncPlan& plan_;
  const SyncCalls& calls_;
  const std::vector<ComputeSpeed>& speeds_;
  StepFeed& feed_;
  HandlerId handler_;
  StreamSet streams_;
  std::size_t call_count_;
  // Two of each call, for odd and even steps: a rank may be a step ahead of another, never two.
  std::vector<std::unique_ptr<EventCollective>> collectives_;
  std::vector<std::int64_t> collective_step_;
  std::vector<Machine> machines_;
  std::vector<EventStepTimes> times_;
  std::vector<std::vector<Tick>> begins_;
  std::vector<std::vector<Tick>> ends_;
  std::vector<StepSpan>* spans_ = nullptr;
};

}  // namespace vitsim
