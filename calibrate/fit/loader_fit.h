#pragma once

#include "calibrate/fit/fit.h"
#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// Adds what was measured of data loading to the profiles of the GPUs beside which it was measured,
/// and takes out of their steps what they waited for it.
void fit_loaders(const Measurement& measurement, Calibration& calibration);

}  // namespace vitsim
