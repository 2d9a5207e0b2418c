#pragma once

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// Gives the classes of a job that offloads state the rates at which they do; says in warnings
/// which of them are assumed, and where the state does not fit the hosts' memory.
void set_offload(ResolvedJob& job, const ClusterSpec& cluster, const ProfileSet& profiles);

}  // namespace vitsim
