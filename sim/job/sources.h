#pragma once

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// Says of every kind of GPU and every link that the job's ring crosses where its figures come
/// from: fills `basis`, `warnings`, `link_noise` and `collective_overhead`. `cluster` is the one
/// that the job's network was made from.
void describe_sources(ResolvedJob& job, const ClusterSpec& cluster, const ProfileSet& profiles);

/// Widens the spread of links whose measured collectives are of other sizes or numbers of ranks
/// than those of the job's programs, and says so.
void widen_beyond_measured(ResolvedJob& job,
                           const ClusterSpec& cluster,
                           const ProfileSet& profiles);

}  // namespace vitsim
