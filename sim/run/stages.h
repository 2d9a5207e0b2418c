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

/// Epochs of jobs that share a network for too long to simulate every message. Each stage, in which
/// the same jobs run under the same disturbances, is taken to go on as its first steps.
class StagedRun {
 public:
  /// All arguments must outlive it. Throws UserError where the plans or disturbances are not
  /// possible.
  StagedRun(const Network& network,
            std::span<const JobPlan> jobs,
            std::span<const Disturbance> disturbances);

  /// Every epoch of each job, from its first step to its barrier, with all disturbances or without
  /// one.
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
  struct Stage {
    std::vector<std::size_t> running;       // jobs that use the network
    std::vector<std::size_t> disturbances;  // in force; pauses are told by who runs

    auto operator<=>(const Stage&) const = default;  // NOLINT(modernize-use-nullptr)
  };

  /// Where each of a stage's jobs stands in its step when the stage begins, in quarters of it.
  using Quarters = std::vector<int>;

  [[nodiscard]] std::vector<std::size_t> in_force(Seconds now,
                                                  std::optional<std::size_t> without) const;
  [[nodiscard]] bool is_paused(std::size_t job, const std::vector<std::size_t>& disturbances) const;

  /// How many times longer than alone each of the stage's jobs takes. The same way of standing
  /// beside each other, at other times or without another disturbance, is simulated once.
  const std::vector<double>& slowdown_in(const Stage& stage, const std::vector<Progress>& progress);

  const Network& network_;
  std::span<const JobPlan> jobs_;
  std::span<const Disturbance> disturbances_;
  std::vector<Alone> alone_;
  std::map<std::pair<Stage, Quarters>, std::vector<double>> known_;
};

}  // namespace vitsim
