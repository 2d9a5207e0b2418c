#pragma once

#include "calibrate/fit/fit.h"

namespace vitsim {

/// How much slower backward is while communication runs: the median of "overlap" samples taken
/// beside an AllReduce by the median of those alone, of each rank; the middle rank's for each GPU,
/// never less than 1. GPUs without such samples keep what they have.
void fit_overlap(const Measurement& measurement, Calibration& calibration);

}  // namespace vitsim
