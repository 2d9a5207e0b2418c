#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/run_summary.h"

namespace vitsim {

/// What shares one curve of compute against micro-batch.
struct CurveKey {
  std::string gpu;
  bool known = true;  // false: no file tells the model, and its figures mean nothing
  Architecture model;
  Precision precision = Precision::kFp32;
  OptimizerKind optimizer = OptimizerKind::kAdamW;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes for a 0.
  auto operator<=>(const CurveKey&) const = default;
};

CurveKey curve_key(const RecordedRun& run, std::size_t rank);

/// True where both runs compute the same model.
bool same_model(const RecordedRun& a, const RecordedRun& b);

/// Everything per step that is not forward, backward or the wire.
struct StepConstants {
  double optimizer_s = 0;
  double copy_s = 0;  // flatten gradients and copy them back, per AllReduce
  double data_load_per_sample_s = 0;
  double epoch_s = 0;  // once per epoch: the loader's start
  bool optimizer_measured = false;
};

/// What is constant per step, for every curve of the runs: medians of what was logged. A GPU whose
/// updates and copies no log tells apart takes the traffic of the others over its memory bandwidth.
std::map<CurveKey, StepConstants> step_constants(const std::vector<const RunSummary*>& used,
                                                 const FitOptions& options);

}  // namespace vitsim
