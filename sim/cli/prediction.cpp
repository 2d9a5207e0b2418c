#include "sim/cli/prediction.h"

#include <nlohmann/json.hpp>

#include "models/error.h"
#include "models/experiment/resolved.h"

namespace vitsim {

namespace {

std::vector<std::string> unknown_names(const Experiment& experiment) {
  try {
    (void)load_profiles(experiment, ProfileLibrary(experiment.profiles));
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

}  // namespace

Experiment read_input(const PredictionInput& input) {
  Experiment experiment = read_experiment(input.file, input.overrides(), unknown_names);
  const ProfileLibrary library(experiment.profiles);
  experiment.warnings.insert(
      experiment.warnings.end(), library.notes().begin(), library.notes().end());
  return experiment;
}

ResolvedExperiment load(const PredictionInput& input) {
  return resolve_with_library(read_input(input));
}

ResolvedExperiment resolve_with_library(const Experiment& experiment) {
  const ProfileLibrary library(experiment.profiles);
  return resolve(experiment, load_profiles(experiment, library));
}

std::string resolved_text(const Experiment& experiment, const PredictOptions& options) {
  nlohmann::json parameters = vitsim::resolved(experiment);
  parameters["seed"] = options.seed;
  parameters["replicates"] = options.replicates;
  return parameters.dump();
}

std::vector<Report> predict_jobs(const ResolvedExperiment& resolved,
                                 const PredictOptions& options,
                                 bool with_parameters) {
  std::vector<Report> reports = predict(resolved, options);
  for (Report& report : reports) {
    if (with_parameters) {
      report.resolved_json = resolved_text(resolved.experiment, options);
    }
  }
  return reports;
}

}  // namespace vitsim
