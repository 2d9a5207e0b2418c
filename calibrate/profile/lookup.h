#pragma once

#include "calibrate/compute/compute_model.h"
#include "calibrate/profile/library.h"
#include "models/experiment/experiment.h"

namespace vitsim {

/// Profiles and sheets for every name that the experiment uses; all GPU profiles where some GPU
/// needs scaling from others. Throws UserError naming every unknown GPU and link profile with the
/// place in the file and the nearest known name.
ProfileSet load_profiles(const Experiment& experiment, const ProfileLibrary& library);

}  // namespace vitsim
