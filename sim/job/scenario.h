#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "calibrate/profile/library.h"
#include "models/experiment/epoch.h"
#include "models/experiment/experiment.h"
#include "sim/engine/network.h"

namespace vitsim {

/// One rank of a job with all that is known about it.
struct ScenarioRank {
  std::int64_t cluster_rank = 0;  // in the whole cluster
  std::string node;
  std::string gpu;
  double slowdown = 1;
  std::int64_t micro_batch = 1;
  std::shared_ptr<const ComputeModel> compute;
};

/// What a link profile adds to a link's figures.
struct LinkNoise {
  std::string name;
  Spread spread;
};

/// One training job on the cluster, every name resolved to figures.
struct Scenario {
  TrainingSpec training;
  std::vector<ScenarioRank> ranks;
  EpochPlan plan;
  Seconds start;
  Seconds collective_overhead;
  std::vector<LinkNoise> link_noise;  // of the profiles that its AllReduce crosses
  std::vector<Basis> basis;           // per kind of GPU and per link
  std::vector<std::string> warnings;  // what is not calibrated, first
};

/// A cluster file, resolved: one network, one scenario for each job.
struct ResolvedExperiment {
  Experiment experiment;
  NetworkData network;
  std::vector<Scenario> jobs;
};

/// Profiles and sheets for every name that the experiment uses; all GPU profiles where some GPU
/// needs scaling from others. Throws UserError naming every unknown GPU and link profile with the
/// place in the file and the nearest known name.
ProfileSet load_profiles(const Experiment& experiment, const ProfileLibrary& library);

/// Throws UserError naming every data set whose size the file leaves to be counted: training does
/// that, a prediction needs the number.
void check_samples(const Experiment& experiment);

/// Throws UserError where a GPU cannot be predicted in this training.
ResolvedExperiment resolve(const Experiment& experiment, const ProfileSet& profiles);

}  // namespace vitsim
