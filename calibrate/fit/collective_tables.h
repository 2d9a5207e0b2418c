#pragma once

#include "calibrate/fit/fit.h"

namespace vitsim {

/// A link is not believed to be faster than this where too little was measured to tell.
inline constexpr double kMostBytesPerSecond = 1e12;

/// Tables of collectives that were measured on their own, as nccl-tests prints them, in the profile
/// of their link: the median of each size, out of place where that was measured. A link of which no
/// AllReduce was seen gets latency and bandwidth from its largest table. Notes say which tables do
/// not reach sizes that show a bandwidth.
void fit_collective_tables(const Measurement& measurement,
                           const FitOptions& options,
                           Calibration& calibration);

/// Whether a link has tables of collectives, and none of them reaches sizes that show a bandwidth.
bool is_bandwidth_unknown(const LinkProfile& profile);

/// Whether a link has tables of collectives, each of a single size.
bool is_latency_unknown(const LinkProfile& profile);

}  // namespace vitsim
