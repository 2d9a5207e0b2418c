#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/measurement/measurement.h"
#include "models/experiment/epoch.h"

namespace vitsim {

/// Typical seconds of one step's phases on one rank: forward and backward per micro-batch, the rest
/// per step.
struct PhaseTimes {
  double forward_s = 0;
  double backward_s = 0;
  double all_reduce_s = 0;  // with the wait for slower ranks
  double optimizer_s = 0;

  [[nodiscard]] double compute_s() const { return forward_s + backward_s; }
};

/// Phases of one rank of a run: medians over epochs of the means within an epoch, so that rare
/// stalls count as often as they come and first epochs do not.
struct RankSummary {
  std::int64_t rank = 0;
  PhaseTimes full;                 // full steps
  std::optional<PhaseTimes> last;  // the epoch's short last step, where there is one
  std::int64_t last_micro_batch = 0;
  double step_sigma = 0;              // of the logarithm of compute, from step to step
  std::int64_t steps = 0;             // measured
  std::optional<double> wire_s;       // AllReduce of the last rank to come, where all were logged
  std::optional<double> rest_s;       // per epoch: its wall time less all phases
  std::optional<double> wall_step_s;  // median of a whole step on the rank's own clock
  std::optional<double> data_load_s;  // per micro-batch, where it was logged
  std::string unit;                   // which of several equal devices, where it was noted

  /// AllReduce without the wait for slower ranks. In the short last step the wait shrinks with the
  /// compute and the AllReduce does not: two equations, two unknowns.
  [[nodiscard]] double pure_all_reduce_s() const;
};

/// What a fit needs to know of one recorded run.
struct RunSummary {
  const RecordedRun* run = nullptr;
  std::optional<EpochPlan> plan;   // where the samples are known
  std::optional<double> epoch_s;   // median over epochs, slowest rank
  double gradient_bytes = 0;       // that one AllReduce carries
  std::vector<RankSummary> ranks;  // those whose phases were logged
  std::vector<std::size_t> kinds;  // the first rank of each GPU and micro-batch, rising

  /// Full steps that an epoch is worth: its samples by those of a full step.
  [[nodiscard]] double full_steps() const;
  [[nodiscard]] std::int64_t micro_batch(std::size_t rank) const;
  [[nodiscard]] std::int64_t world_size() const;

  /// What one ring step sends.
  [[nodiscard]] double message_bytes() const;

  /// False for several ranks whose log does not synchronise phases: launches then hide behind the
  /// AllReduce, and the step is not the sum of its parts.
  [[nodiscard]] bool phases_add_up() const;
};

/// What a run lacks that any fit of it needs, with the option that tells it; empty where nothing. A
/// run of an unknown model shows no known model's times.
std::string missing_facts(const RecordedRun& run);

/// Summaries of all runs of a measurement that lack nothing, in its order. The measurement must
/// outlive them.
std::vector<RunSummary> summarise(const Measurement& measurement);

}  // namespace vitsim
