#pragma once

#include <memory>
#include <string>

#include "trainer/device.h"
#include "trainer/mpi/session.h"

namespace vitsim {

/// Ranks of one machine share its cores: each takes its part of them for arithmetic, unless
/// $OMP_NUM_THREADS says otherwise.
void share_cores(const MpiSession& session);

/// A GPU where there is one, else the CPU; `wish` is "cpu", "cuda" or anything else for either.
/// Throws UserError where the wish cannot be met.
std::unique_ptr<Device> choose_device(const std::string& wish, const MpiSession& session);

}  // namespace vitsim
