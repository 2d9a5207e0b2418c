#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/engine/network.h"
#include "sim/job/scenario.h"

namespace vitsim {

/// A link's figures and what libraries of collectives ask of it: from a profile, a data sheet, or
/// as typed. Every name must be in `profiles`.
LinkData link_data(const LinkSpec& spec, const ProfileSet& profiles);

/// The data sheets of links that the GPU sheets of a node stand for where nobody names a path
/// inside it: `intra_node` of the sheet, else PCI Express by generation and lanes; may be empty.
std::string usual_path(const GpuSheet& sheet);

/// Gives every node of several GPUs for which the file names no path inside: the one that was
/// measured with its GPUs, else the slowest of the usual paths of its GPUs, marked as assumed.
void add_paths_inside_nodes(ClusterSpec& cluster, const ProfileSet& profiles);

/// What NCCL's cost model asks of a node's GPUs.
Accelerator accelerator_of(const NodeSpec& node, const ProfileSet& profiles);

/// Where the figures of the links in `crossed` come from: the basis, spreads and warnings of a job.
void describe_links(Scenario& scenario,
                    const std::vector<const LinkSpec*>& crossed,
                    const ProfileSet& profiles);

}  // namespace vitsim
