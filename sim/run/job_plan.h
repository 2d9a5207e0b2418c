#pragma once

#include <vector>

#include "sim/job/resolved_job.h"
#include "sim/run/run.h"

namespace vitsim {

/// What a run of the job needs.
JobPlan job_plan(const ResolvedJob& job);

/// The file's disturbances on the network's links, without its failures.
std::vector<Disturbance> disturbances(const ResolvedExperiment& resolved);

}  // namespace vitsim
