#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/run_summary.h"
#include "calibrate/measurement/measurement.h"
#include "calibrate/profile/library.h"
#include "models/progress.h"
#include "models/report/report.h"
#include "models/report/timeline.h"
#include "sim/assess/compare.h"
#include "sim/assess/validation_history.h"
#include "sim/predict/predict.h"

namespace vitsim {

/// One run predicted and measured.
struct ValidatedRun {
  std::string name;
  Report predicted;
  Report measured;
  Comparison comparison;      // a: predicted, b: measured
  std::string unpredictable;  // why, where it is: the rest is empty then

  /// The figure by which the prediction is judged: the epoch where both hold it, else the step.
  [[nodiscard]] const ComparedFigure* judged() const;
};

/// What a recorded run's log says, as a report: epoch, step, mean phases of the logged ranks, and
/// every rank where all of them were logged.
Report measured_report(const RunSummary& summary, const Measurement& measurement);

/// Every recorded run of the measurement predicted with the profiles of `library`. A run directory
/// of this project's trainer holds more than its measurement: its whole report is compared.
std::vector<ValidatedRun> validate_recorded(const Measurement& measurement,
                                            const std::vector<std::filesystem::path>& folders,
                                            const ProfileLibrary& library,
                                            const PredictOptions& options,
                                            const Progress& progress = {});

/// Holds a prediction against a real run that was stopped after `steps` updates, if it was: totals
/// and epochs of a stopped run are left out.
ValidatedRun validate(std::string name, Report predicted, Report measured, bool stopped);

/// A line for the history. `load` counts real runs and those thrown away.
ValidationRecord record_of(const ValidatedRun& run,
                           const std::string& kind,
                           std::int64_t runs = 1,
                           std::int64_t disturbed = 0);

/// Ranks that trained on another device than the profile by which they were predicted was measured
/// on, a sentence for each pair of the two: their comparison says little.
std::vector<std::string> foreign_devices(const Report& measured, const ProfileLibrary& library);

/// The spans of `steps` settled steps of a real run, moved to start at zero, as a prediction's
/// timeline has them.
Timeline settled_part(const Timeline& measured, std::int64_t steps);

}  // namespace vitsim
