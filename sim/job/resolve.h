#pragma once

#include "calibrate/compute/compute_model.h"
#include "models/experiment/experiment.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

/// Throws UserError naming every data set whose size the file leaves to be counted: training does
/// that, a prediction needs the number.
void check_samples(const Experiment& experiment);

/// Names become figures. Throws UserError where a GPU cannot be predicted in this training, or the
/// cluster is not connected.
ResolvedExperiment resolve(const Experiment& experiment, const ProfileSet& profiles);

}  // namespace vitsim
