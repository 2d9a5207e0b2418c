#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/job/scenario.h"
#include "sim/step/step.h"

namespace vitsim {

/// The cluster's wires with every transfer `factor` times slower.
NetworkData slowed(const NetworkData& network, double factor);

/// How the gradients of a scenario meet.
SyncPlan sync_plan(const Scenario& scenario);

/// One step of every rank in ticks, with a factor on each rank's compute.
class StepWork {
 public:
  /// `shapes` are the micro-batches of each rank, e.g. a plan's full or last step.
  StepWork(const Scenario& scenario,
           std::span<const StepShape> shapes,
           std::span<const double> factors = {});

  [[nodiscard]] std::span<const RankWork> ranks() const { return ranks_; }

 private:
  std::vector<std::vector<MicroBatchWork>> micro_batches_;
  std::vector<RankWork> ranks_;
};

/// Seconds that a rank computes in one step, loading included: what a blocking AllReduce waits for.
/// `optimizer` apart, since ZeRO-1 updates between two collectives.
struct RankCompute {
  double before_s = 0;     // data load, forward, backward
  double optimizer_s = 0;  // of the rank's shard
  double other_s = 0;
};

std::vector<RankCompute> rank_compute(const Scenario& scenario, std::span<const StepShape> shapes);

/// Seconds of all collectives of a step where they block and take everybody equally long, so that a
/// step is the slowest rank's compute plus this; none for overlap or unequal links.
struct BlockingSync {
  double reduce_s = 0;  // before the optimizer
  double gather_s = 0;  // after it (ZeRO-1)
};

std::optional<BlockingSync> blocking_sync(const Scenario& scenario, const Network& network);

}  // namespace vitsim
