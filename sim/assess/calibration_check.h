#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/rate_fit.h"
#include "calibrate/measurement/measurement.h"
#include "models/experiment/experiment.h"
#include "models/progress.h"

namespace vitsim {

/// A phase, an AllReduce or a memory reading of a left-out run against its prediction.
struct ComponentCheck {
  std::string run;
  std::string part;  // "forward (rtx-3070)", "gradient_all_reduce", "memory (tesla-p4)"
  double measured = 0;
  double predicted = 0;

  [[nodiscard]] double error() const { return predicted / measured - 1; }
};

/// One recorded run predicted by a fit that has not seen it.
struct RunCheck {
  std::string run;
  std::string group;      // cluster and precision, for means
  double measured_s = 0;  // median epoch, or median step where the log has no epochs
  double predicted_s = 0;
  std::optional<double> p05_s;
  std::optional<double> p95_s;
  std::string unpredictable;  // why, where it is: the rest is empty then

  [[nodiscard]] double error() const { return predicted_s / measured_s - 1; }

  [[nodiscard]] bool inside() const {
    return p05_s && measured_s >= *p05_s && measured_s <= *p95_s;
  }

  /// Half of the interval's width, relative to the prediction.
  [[nodiscard]] double half_width() const;
};

struct CalibrationCheck {
  std::vector<RunCheck> runs;
  std::vector<ComponentCheck> components;
  std::vector<LeftOutModel> models;  // throughput samples
};

/// Refits without each run and predicts it as `vitsim predict` would. Runs whose parts no other run
/// shows are listed as unpredictable: a GPU that occurs once, or a step whose phases do not add up.
/// So are runs whose GPUs no file names; the fits do without them.
CalibrationCheck check_calibration(const Measurement& all,
                                   const FitOptions& options,
                                   const Progress& progress = {});

/// The recorded run as a cluster file would describe it.
Experiment experiment_of(const RecordedRun& run);

}  // namespace vitsim
