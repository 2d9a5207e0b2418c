#pragma once

#include "sim/job/resolved_job.h"

namespace vitsim {

/// Builds the programs of the job's full and short steps from its classes, its plan and its group,
/// and checks them.
void build_programs(ResolvedJob& job);

}  // namespace vitsim
