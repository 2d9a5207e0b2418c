#pragma once

#include <optional>
#include <vector>

#include "models/report/report.h"
#include "sim/job/resolved_job.h"
#include "sim/run/run.h"

namespace vitsim {

/// What the cluster file's disturbances and its other jobs do to one job.
struct DisturbanceEffect {
  std::vector<double> epoch_s;         // what each epoch takes longer than alone and undisturbed
  std::vector<DisturbanceCost> costs;  // what the run would take less without each disturbance
  std::vector<std::string> notes;
};

/// Runs all jobs without noise: alone and undisturbed, with all events, and without each
/// disturbance in turn. Jobs that share the network run together, message by message, or, where
/// those are too many to simulate, stage by stage (StagedRun). Nothing where the file has neither
/// disturbances nor several jobs. By job.
std::vector<DisturbanceEffect> disturbance_effects(const ResolvedExperiment& resolved);

}  // namespace vitsim
