#pragma once

#include <vector>

#include "calibrate/profile/lookup.h"
#include "sim/cli/command.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {

/// Reads the file with its overrides. Unknown GPUs and link profiles are reported beside the file's
/// other problems, or else by `load_profiles`.
Experiment read_input(const PredictionInput& input);

/// Reads the file with its overrides, finds all profiles and resolves every name.
ResolvedExperiment load(const PredictionInput& input);

/// The same for an experiment at hand, e.g. with fewer GPUs.
ResolvedExperiment resolve_with_library(const Experiment& experiment);

/// Predicts all jobs and, `with_parameters`, fills in what the reports say of their input.
std::vector<Report> predict_jobs(const ResolvedExperiment& resolved,
                                 const PredictOptions& options,
                                 bool with_parameters);

/// Every parameter after defaults, and what the prediction was asked for, as a JSON object.
std::string resolved_text(const Experiment& experiment, const PredictOptions& options);

}  // namespace vitsim
