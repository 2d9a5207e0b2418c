#include "sim/cli/prediction.h"

#include <nlohmann/json.hpp>

#include "models/resolved.h"

namespace vitsim {

ResolvedExperiment load(const PredictionInput& input) {
  return resolve_with_library(read_experiment(input.file, input.overrides()));
}

ResolvedExperiment resolve_with_library(const Experiment& experiment) {
  const ProfileLibrary library(experiment.profiles);
  return resolve(experiment, load_profiles(experiment, library));
}

std::vector<Report> predict_jobs(const ResolvedExperiment& resolved,
                                 const PredictOptions& options) {
  std::vector<Report> reports = predict(resolved, options);
  nlohmann::json parameters = vitsim::resolved(resolved.experiment);
  parameters["seed"] = options.seed;
  parameters["replicates"] = options.replicates;
  for (Report& report : reports) {
    report.resolved_json = parameters.dump();
  }
  return reports;
}

}  // namespace vitsim
