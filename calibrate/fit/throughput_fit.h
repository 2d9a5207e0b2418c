#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// One measured pass over a batch of one model.
struct PassObservation {
  VitSpec model;
  Precision precision = Precision::kFp32;
  std::int64_t batch = 1;
  double seconds = 0;
  bool fused_attention = true;
};

/// Error of predicting one model from the others of the same GPU.
struct LeftOutModel {
  std::string gpu;
  std::string what;   // "forward_pass", "backward_pass" or "train_step"
  std::string model;  // deit_* and vit_* of one size are one model
  std::int64_t batch = 0;
  double log_error = 0;  // ln(predicted / measured)
};

/// Adds throughput curves to the calibration: from single-device throughput samples, and from the
/// steps already fitted. A GPU with one model only splits its time by a prior on bandwidth from the
/// data sheet. A GPU with forward passes only borrows the ratio of backward to forward.
void fit_throughput(const Measurement& measurement,
                    const FitOptions& options,
                    Calibration& calibration);

/// Leaves each model out of the throughput samples in turn (both torch versions at once).
std::vector<LeftOutModel> leave_models_out(const Measurement& measurement,
                                           const FitOptions& options);

}  // namespace vitsim
