#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/run_summary.h"

namespace vitsim {

/// What a model computes, whatever it is called: deit_* and vit_* of one size are the same work,
/// and every model that is written out is called "custom".
struct Architecture {
  bool known = true;  // false: no file tells the model, and the figures mean nothing
  std::int64_t layers = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t mlp = 0;
  std::int64_t patch = 0;
  std::int64_t channels = 0;
  std::int64_t image_size = 0;
  std::int64_t classes = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes for a 0.
  auto operator<=>(const Architecture&) const = default;
};

/// What shares one curve of compute against micro-batch.
struct CurveKey {
  std::string gpu;
  Architecture model;
  Precision precision = Precision::kFp32;
  OptimizerKind optimizer = OptimizerKind::kAdamW;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes for a 0.
  auto operator<=>(const CurveKey&) const = default;
};

CurveKey curve_key(const RecordedRun& run, std::size_t rank);

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
