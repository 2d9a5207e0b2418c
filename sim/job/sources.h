#pragma once

#include <vector>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// What the ring of the job's ranks crosses, of `cluster`, from which the job's network was made;
/// paths inside nodes that nobody names are null. None for a single rank.
std::vector<const LinkSpec*> crossed_links(const ResolvedJob& job, const ClusterSpec& cluster);

/// Says of every kind of GPU and every crossed link where its figures come from: fills `basis`,
/// `warnings`, `link_noise` and `collective_overhead`.
void describe_sources(ResolvedJob& job,
                      const std::vector<const LinkSpec*>& crossed,
                      const ProfileSet& profiles);

/// Widens the spread of links whose measured collectives are of other sizes or numbers of ranks
/// than those of the job's programs, and says so.
void widen_beyond_measured(ResolvedJob& job,
                           const std::vector<const LinkSpec*>& crossed,
                           const ProfileSet& profiles);

}  // namespace vitsim
