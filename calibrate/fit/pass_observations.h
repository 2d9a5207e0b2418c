#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "calibrate/compute/operator_rates.h"
#include "calibrate/fit/fit.h"
#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What of a step an observation timed.
enum class Observed { kForward, kBackward, kTrainStep };

/// One measured pass, or one whole training step, over a batch of one model on one device.
struct PassObservation {
  Observed what = Observed::kForward;
  VitSpec model;
  Precision precision = Precision::kFp32;
  std::int64_t batch = 1;
  double seconds = 0;
  AttentionKernel attention = AttentionKernel::kFused;
  QkvSplit split = QkvSplit::kSelect;
  OptimizerKind optimizer = OptimizerKind::kSgd;  // of a training step
  bool of_run = false;  // a part of a recorded run's steps, whose other part was timed too
};

/// By GPU, every pass that the measurement shows: throughput samples, and the forward and backward
/// passes of steps that one device made alone, each visit for itself.
std::map<std::string, std::vector<PassObservation>> measured_passes(const Measurement& measurement);

/// The passes of steps that the joint fit has told apart, for GPUs without passes of their own.
std::vector<PassObservation> fitted_passes(const GpuProfile& profile);

}  // namespace vitsim
