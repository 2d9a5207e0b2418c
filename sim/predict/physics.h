#pragma once

#include "models/report/report.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// Throws InternalError, our bug, where a predicted step is shorter than the wire allows, or its
/// parts are negative or do not add up to it.
void check_physics(const ResolvedJob& job, const Report& report);

/// No step is shorter than what its collectives have to bring over the slowest link of each member:
/// by the algorithm's least traffic, whatever overlaps.
Seconds wire_limit(const ResolvedJob& job);

}  // namespace vitsim
