#pragma once

#include <optional>
#include <vector>

#include "models/report/report.h"
#include "sim/job/scenario.h"
#include "sim/run/run.h"

namespace vitsim {

/// What the cluster file's events and its other jobs do to one job.
struct EventEffect {
  std::vector<double> epoch_s;   // what each epoch takes longer than alone and undisturbed
  std::vector<EventCost> costs;  // what the run would take less without each event
  std::vector<std::string> notes;
};

/// Runs all jobs without noise: alone and undisturbed, with all events, and without each event in
/// turn. Jobs that share the network run together, message by message, or, where those are too many
/// to simulate, phase by phase (PhasedRun). Nothing where the file has neither events nor several
/// jobs. By job.
std::vector<EventEffect> event_effects(const ResolvedExperiment& resolved, const Network& network);

}  // namespace vitsim
