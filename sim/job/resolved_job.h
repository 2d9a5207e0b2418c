#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/epoch.h"
#include "models/experiment/experiment.h"
#include "models/experiment/rank_layout.h"
#include "models/vit/activations.h"
#include "models/vit/memory.h"
#include "sim/collective/communicator.h"
#include "sim/engine/network.h"
#include "sim/step/builder.h"
#include "sim/step/program.h"
#include "sim/step/rare_program.h"

namespace vitsim {

/// Ranks that the model cannot tell apart: same GPU, slowdown, micro-batches, kind of node, links
/// and part of the model.
struct RankClass {
  std::string gpu;
  double slowdown = 1;
  StepShape shape;  // of a full step
  std::int64_t count = 0;
  std::uint32_t first = 0;  // position
  std::shared_ptr<const ComputeModel> compute;
  OffloadRates offload;
  StagePart held;

  [[nodiscard]] std::int64_t micro_batch() const { return shape.size; }
};

/// What a link profile adds to a link's figures.
struct LinkNoise {
  std::string name;
  Spread spread;
};

/// One training job on the cluster, every name resolved to figures, built once: its classes of
/// ranks, the group they form, and the programs of its steps. Positions are indices of its ranks.
struct ResolvedJob {
  std::string name;  // may be empty
  TrainingSpec training;
  std::shared_ptr<const Network> network;
  EpochPlan plan;
  std::vector<RankClass> classes;
  std::vector<std::uint32_t> class_of;        // by position
  std::shared_ptr<const Communicator> group;  // all ranks, in the order of positions
  std::shared_ptr<const StepProgram> full;
  std::shared_ptr<const StepProgram> last;  // of a short last step; none where it is full
  std::vector<std::uint32_t> last_classes;  // job's class of each class of `last`
  std::vector<RareProgram> rare;
  Seconds start;
  Seconds epoch_start;  // the slowest loader's, once per epoch
  Seconds collective_overhead;
  std::vector<LinkNoise> link_noise;  // of the profiles that its collectives cross
  std::vector<Basis> basis;           // per kind of GPU and per link
  std::vector<std::string> warnings;  // what is not calibrated, first

  [[nodiscard]] std::size_t world_size() const { return class_of.size(); }

  /// How its ranks are dealt to the ways in which the training is split.
  [[nodiscard]] RankLayout layout() const {
    return {training.parallelism, static_cast<std::int64_t>(world_size())};
  }

  /// Ranks that hold the same part of the model, and sum its gradients.
  [[nodiscard]] std::int64_t gradient_ranks() const {
    return layout().data() * layout().sequence();
  }

  /// What the GPUs of each class hold.
  [[nodiscard]] std::vector<RankLimits> limits() const {
    std::vector<RankLimits> limits;
    for (const RankClass& ranks : classes) {
      limits.push_back({.count = ranks.count,
                        .micro_batch = ranks.micro_batch(),
                        .memory = ranks.compute->memory,
                        .capacity = ranks.compute->capacity,
                        .held = ranks.held});
    }
    return limits;
  }

  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return group->ranks(); }

  [[nodiscard]] const RankClass& rank_class(std::size_t position) const {
    return classes[class_of[position]];
  }

  /// Name of the node on which a position lives.
  [[nodiscard]] const std::string& node(std::size_t position) const {
    return network->node_name(network->node_of(ranks()[position]));
  }

  /// Full steps of an epoch; a short last one is not among them.
  [[nodiscard]] std::int64_t full_steps() const { return plan.steps - (last == nullptr ? 0 : 1); }
};

/// A cluster file, resolved: one network, one entry for each job.
struct ResolvedExperiment {
  Experiment experiment;
  std::shared_ptr<const Network> network;
  std::vector<ResolvedJob> jobs;
};

}  // namespace vitsim
