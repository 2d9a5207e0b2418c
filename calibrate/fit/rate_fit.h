#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/pass_observations.h"
#include "calibrate/fit/run_summary.h"
#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What the passes of one GPU show: rates by precision, the host's launches, and the update's bytes
/// per second where only whole steps tell of it.
struct FittedRates {
  std::vector<OperatorRates> rates;
  HostLaunch host;
  BytesPerSecond update;
  bool shows_launches = false;  // some pass is short enough for its host to rule

  [[nodiscard]] const OperatorRates* find(Precision precision) const;

  /// Seconds of what was observed, and who ruled it.
  struct Predicted {
    double seconds = 0;
    double host_share = 0;
  };

  [[nodiscard]] Predicted predict(const PassObservation& seen) const;
};

/// Rates of one GPU by robust least squares on logarithms, with priors relative to its data sheet;
/// `sheet` may be null. Throws nothing; `passes` must not be empty.
FittedRates fit_passes(const std::vector<PassObservation>& passes, const GpuSheet* sheet);

/// Error of predicting one model from the others of the same GPU.
struct LeftOutModel {
  std::string gpu;
  std::string what;   // "forward_pass", "train_step", "forward + backward"
  std::string model;  // deit_* and vit_* of one size are one model
  std::int64_t batch = 0;
  double log_error = 0;  // ln(predicted / measured)
  Precision precision = Precision::kFp32;
  double host_share = 0;  // how much of it the host's launches decide
};

/// Adds rates, the host's launches and updates' rates to the calibration, from throughput samples
/// and from the steps already fitted.
void fit_rates(const Measurement& measurement, const FitOptions& options, Calibration& calibration);

/// Names of runs of one device whose steps the host's launches ruled.
std::set<std::string> runs_ruled_by_host(const std::vector<RunSummary>& summaries,
                                         const Calibration& calibration);

/// Leaves each model out of each GPU's passes in turn, in all precisions at once.
std::vector<LeftOutModel> leave_models_out(const Measurement& measurement,
                                           const FitOptions& options);

}  // namespace vitsim
