#pragma once

#include <vector>

#include "models/report/report.h"
#include "models/report/step_picture.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// A typical step without noise as people draw it: every rank up to 32, beyond that one rank of
/// each class, the slowest classes first. Empty where only a simulation of every message of a large
/// cluster could tell.
std::vector<StepTrack> step_tracks(const ResolvedJob& job,
                                   const std::vector<RankClassReport>& classes);

/// What the collectives and transfers of a step put on the links, the most loaded first, one entry
/// for each node's NICs, each node's inside and each trunk. Trees count as trees; every other
/// algorithm as the ring that sends the same bytes.
std::vector<LinkUse> link_uses(const ResolvedJob& job, double step_s);

}  // namespace vitsim
