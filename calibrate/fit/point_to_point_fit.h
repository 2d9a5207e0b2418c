#pragma once

#include "calibrate/fit/fit.h"

namespace vitsim {

/// One link profile for each machine's NIC, named LINK-MACHINE, from messages between pairs of
/// ranks: what a cluster with unequal NICs names in a node's "nic". A machine is called as its
/// device is. Only for networks on which three machines or more were seen in pairs, or two of
/// unequal names; ranks of one machine have no NIC between them.
///
/// `efficiency` of the whole network's AllReduces, where they were measured, is in the profiles
/// too: the sum over ranks costs beside the wire.
void fit_point_to_point(const Measurement& measurement,
                        const FitOptions& options,
                        Calibration& calibration);

}  // namespace vitsim
