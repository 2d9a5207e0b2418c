#pragma once

#include "calibrate/compute/compute_model.h"
#include "models/experiment/cluster.h"
#include "sim/engine/network.h"

namespace vitsim {

/// A cluster's wires with the figures of every link: written ones, a data sheet's, a profile's, or
/// PCIe 3.0 x16 inside nodes where nothing is said.
NetworkData network_data(const ClusterSpec& cluster, const ProfileSet& profiles);

}  // namespace vitsim
