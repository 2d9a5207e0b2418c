#pragma once

#include <cstdint>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/experiment.h"

namespace vitsim {

/// The same experiment on the cluster's first `ranks` GPUs. Weak scaling keeps the samples per rank
/// of the whole cluster, also beyond the data set; strong scaling keeps the data set. Events of
/// ranks and nodes that are gone are dropped. Throws UserError where the file has several jobs or
/// fewer GPUs, or weak scaling does not know how many samples there are.
Experiment first_ranks(const Experiment& experiment, std::int64_t ranks, bool weak);

/// The same experiment with nodes, and GPUs within a node, in order of speed, the fastest first.
/// Micro-batches given by rank and events move with their rank.
Experiment fastest_first(const Experiment& experiment, const ProfileSet& profiles);

}  // namespace vitsim
