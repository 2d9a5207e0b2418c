#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "sim/run/run.h"
#include "sim/step/accounting.h"
#include "sim/step/builder.h"
#include "sim/step/step_executor.h"

namespace vitsim::testing {

/// One micro-batch in ticks.
struct MicroBatchTicks {
  Tick data_load = 0;
  Tick forward = 0;
  Tick backward = 0;
};

/// What one step costs one rank, in ticks.
struct RankTicks {
  std::span<const MicroBatchTicks> micro_batches;
  Tick optimizer = 0;
  Tick other = 0;
};

/// How gradients meet in a test's step.
struct SyncPlan {
  GradientSync mode = GradientSync::kDdp;
  std::vector<SyncBucket> buckets;
  AllReduceAlgorithm algorithm = AllReduceAlgorithm::kRing;
  Tick collective_overhead = 0;
  std::vector<double> overlap_slowdown;  // by position, or empty: none
};

/// The program that the builders make of it, with a class for every rank.
std::shared_ptr<const StepProgram> make_program(const Communicator& group,
                                                const SyncPlan& plan,
                                                std::span<const RankTicks> work);

/// What a step came to, by position.
struct StepOutcome {
  std::vector<Tick> ready;
  std::vector<Tick> sync_end;
  std::vector<Tick> end;
  std::vector<Tick> busy;
  std::vector<Tick> exposed;
  std::vector<Tick> wait;
};

/// Steps of ranks with work in ticks, through builder, executors and accounting.
class PlannedStep {
 public:
  PlannedStep(const Network& network, std::vector<std::int64_t> ranks, SyncPlan plan);

  /// Whether arrays are exact for this network and plan.
  [[nodiscard]] bool by_arrays() const;

  void set_speed(std::uint32_t position, const std::vector<SlowInterval>& intervals);

  StepOutcome run(std::span<const RankTicks> work, std::span<const Tick> starts);
  StepOutcome run_events(std::span<const RankTicks> work, std::span<const Tick> starts);

  [[nodiscard]] std::uint32_t size() const { return group_->size(); }

  /// Begins and ends of all operations in the last step.
  [[nodiscard]] const StepTimes& times() const { return times_; }

  [[nodiscard]] const StepProgram& program() const { return *program_; }

  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  StepOutcome run(std::span<const RankTicks> work, std::span<const Tick> starts, bool by_events);

  std::shared_ptr<const Communicator> group_;
  SyncPlan plan_;
  std::shared_ptr<const StepProgram> program_;
  std::vector<std::vector<SlowInterval>> speeds_;
  StepTimes times_;
  std::uint64_t events_ = 0;
};

/// A job of a test's run.
struct PlannedJob {
  std::vector<std::int64_t> ranks;
  SyncPlan sync;
  std::vector<RankTicks> full;
  std::vector<RankTicks> last;  // empty: like `full`
  std::int64_t steps = 1;
  std::int64_t epochs = 1;
  Tick after_epoch = 0;
  Seconds start;

  [[nodiscard]] JobPlan plan(const Network& network) const;
};

}  // namespace vitsim::testing
