#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/collective/communicator.h"
#include "sim/step/backward.h"
#include "sim/step/compute_speed.h"
#include "sim/step/gradient_all_reduce.h"
#include "sim/step/work.h"

namespace vitsim {

/// Steps of one training job on its ranks. Reusable: `run` allocates nothing after the first call.
/// Positions are indices into `ranks`; times are ticks of whatever clock `starts` uses. Not
/// thread-safe; threads take one simulator each and may share the network.
class StepSimulator {
 public:
  /// `network` must outlive it; bandwidths are read now. Throws UserError for bad ranks or buckets.
  StepSimulator(const Network& network, std::vector<std::int64_t> ranks, SyncPlan plan);

  [[nodiscard]] std::uint32_t size() const { return group_.size(); }

  [[nodiscard]] const Communicator& group() const { return group_; }

  [[nodiscard]] const SyncPlan& plan() const { return plan_; }

  /// Do arrays give the exact answer, or does `run` take the event level?
  [[nodiscard]] bool by_arrays() const { return arrays_.has_value(); }

  /// Slowdowns and pauses of one rank, on the clock of `starts`.
  void set_speed(std::uint32_t position, const std::vector<SlowInterval>& intervals);

  /// One step from each position's start. The result stays valid until the next call. `spans`, if
  /// given, receives what a timeline shows.
  const StepOutcome& run(std::span<const RankWork> work,
                         std::span<const Tick> starts,
                         std::vector<StepSpan>* spans = nullptr);

  /// The same at event level, with links that change while the step runs.
  const StepOutcome& run_events(std::span<const RankWork> work,
                                std::span<const Tick> starts,
                                std::span<const LinkChange> changes = {},
                                std::vector<StepSpan>* spans = nullptr);

  /// By call of the communication stream (reductions, then gathers) and position: when the last
  /// step's call began and ended there.
  [[nodiscard]] const std::vector<std::vector<Tick>>& call_begins() const { return begins_; }

  [[nodiscard]] const std::vector<std::vector<Tick>>& call_ends() const { return ends_; }

  /// Events that `run_events` popped in its last call.
  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  const StepOutcome& run_arrays(std::span<const RankWork> work,
                                std::span<const Tick> starts,
                                std::vector<StepSpan>* spans);

  /// Everything before the last backward: data, forward passes, earlier micro-batches.
  void run_until_last_backward(std::span<const RankWork> work,
                               std::span<const Tick> starts,
                               std::vector<StepSpan>* spans);
  void run_overlapped_backward(std::span<const RankWork> work, std::vector<StepSpan>* spans);
  void finish_step(std::span<const RankWork> work, std::vector<StepSpan>* spans);
  void account_step();

  Communicator group_;
  SyncPlan plan_;
  SyncCalls calls_;
  std::optional<ArraySync> arrays_;
  std::vector<std::vector<Tick>> alone_;  // by call and position
  std::vector<Tick> busy_per_step_;       // by position
  std::vector<ComputeSpeed> speeds_;

  StepOutcome outcome_;
  std::vector<Tick> cursor_;               // by position: the compute stream
  std::vector<std::vector<Tick>> begins_;  // by call and position
  std::vector<std::vector<Tick>> ends_;
  std::vector<std::vector<BusyInterval>> communicating_;  // by position
  std::uint64_t events_ = 0;
};

}  // namespace vitsim
