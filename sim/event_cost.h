#pragma once

#include <vector>

#include "models/report.h"
#include "sim/scenario.h"

namespace vitsim {

/// What the cluster file's events do to one job.
struct EventEffect {
  std::vector<double> epoch_s;   // what each epoch takes longer with all events
  std::vector<EventCost> costs;  // what the run would take less without each one
};

/// Runs the job without noise, with all events, and without each of them in turn. Nothing where
/// the file has no events.
EventEffect event_effect(const ResolvedExperiment& resolved,
                         std::size_t job,
                         const Network& network);

}  // namespace vitsim
