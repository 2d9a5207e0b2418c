#pragma once

#include "calibrate/fit/fit.h"

namespace vitsim {

/// Tables of collectives that were measured on their own, as nccl-tests prints them, in the profile
/// of their link: the median of each size, out of place where that was measured. A link of which no
/// AllReduce was seen gets latency and bandwidth from its largest table. Notes say which tables do
/// not reach sizes that show a bandwidth.
void fit_collective_tables(const Measurement& measurement,
                           const FitOptions& options,
                           Calibration& calibration);

}  // namespace vitsim
