#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/run_summary.h"

namespace vitsim {

/// Fits each GPU's memory constant and its factor on computed activations to the recorded readings.
/// Of equal GPUs in a run the smallest reading counts: others may hold a stranger's process.
void fit_memory(const Measurement& measurement,
                const std::vector<RunSummary>& summaries,
                const FitOptions& options,
                Calibration& calibration);

/// How much memory the runs' "memory" samples say that such a device has; none where they do not.
std::optional<Bytes> recorded_capacity(const Measurement& measurement, const std::string& gpu);

}  // namespace vitsim
