#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/engine/network.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// A link's figures and what libraries of collectives ask of it: from a profile, a data sheet, or
/// as typed. Every name must be in `profiles`.
LinkData link_data(const LinkSpec& spec, const ProfileSet& profiles);

/// Gives every node of several GPUs for which the file names no path inside: the one that was
/// measured with its GPUs, else the slowest of the usual paths of its GPUs, marked as assumed.
void add_paths_inside_nodes(ClusterSpec& cluster, const ProfileSet& profiles);

/// What NCCL's cost model asks of a node's GPUs.
Accelerator accelerator_of(const NodeSpec& node, const ProfileSet& profiles);

/// Where the figures of the links in `crossed` come from: the basis, spreads and warnings of a job.
void describe_links(ResolvedJob& job,
                    const std::vector<const LinkSpec*>& crossed,
                    const ProfileSet& profiles);

/// Where collectives of a crossed link were measured: says which of the training's AllReduces, of
/// `least` to `most` bytes among `ranks`, lie outside the sizes and numbers of ranks that were
/// measured, and widens the link's spread with the distance.
void widen_beyond_tables(ResolvedJob& job,
                         const std::vector<const LinkSpec*>& crossed,
                         const ProfileSet& profiles,
                         std::int64_t ranks,
                         Bytes least,
                         Bytes most);

/// The smallest and the largest of a step's AllReduces, those of single numbers apart; the largest
/// is 0 where it has none.
std::pair<Bytes, Bytes> reduction_sizes(const StepProgram& program);

}  // namespace vitsim
