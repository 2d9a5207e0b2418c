#pragma once

#include <compare>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/engine/network.h"
#include "sim/run/run.h"

namespace vitsim {

/// Epochs of jobs that share a network for too long to simulate every message. Each phase, in which
/// the same jobs run under the same events, is taken to go on as its first steps.
class PhasedRun {
 public:
  /// All arguments must outlive it. Throws UserError where the plans or events are not possible.
  PhasedRun(const Network& network,
            std::span<const JobPlan> jobs,
            std::span<const RunEvent> events);

  /// Every epoch of each job, from its first step to its barrier, with all events or without one.
  std::vector<std::vector<Seconds>> epochs(std::optional<std::size_t> without = std::nullopt);

  /// An epoch of a job that is alone and undisturbed.
  [[nodiscard]] Seconds epoch_alone(std::size_t job) const { return alone_[job].epoch; }

 private:
  struct Alone {
    Seconds step;
    Seconds epoch;
  };

  struct Progress;

  /// What holds until something changes.
  struct Phase {
    std::vector<std::size_t> running;  // jobs that use the network
    std::vector<std::size_t> events;   // in force; pauses are told by who runs

    auto operator<=>(const Phase&) const = default;  // NOLINT(modernize-use-nullptr)
  };

  /// Where each of a phase's jobs stands in its step when the phase begins, in quarters of it.
  using Quarters = std::vector<int>;

  [[nodiscard]] std::vector<std::size_t> in_force(Seconds now,
                                                  std::optional<std::size_t> without) const;
  [[nodiscard]] bool is_paused(std::size_t job, const std::vector<std::size_t>& events) const;

  /// How many times longer than alone each of the phase's jobs takes. The same way of standing
  /// beside each other, at other times or without another event, is simulated once.
  const std::vector<double>& stretch(const Phase& phase, const std::vector<Progress>& progress);

  const Network& network_;
  std::span<const JobPlan> jobs_;
  std::span<const RunEvent> events_;
  std::vector<Alone> alone_;
  std::map<std::pair<Phase, Quarters>, std::vector<double>> known_;
};

}  // namespace vitsim
