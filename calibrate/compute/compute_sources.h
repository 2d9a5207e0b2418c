#pragma once

// Internal: the ways to know a GPU's compute times, of which compute_model.cpp takes the best.

#include <cstdint>
#include <memory>
#include <optional>

#include "calibrate/compute/compute_model.h"
#include "calibrate/compute/operator_curve.h"

namespace vitsim {

/// Forward and backward throughput curves of one precision.
struct PassCurves {
  OperatorCurve forward;
  OperatorCurve backward;

  [[nodiscard]] double seconds(const VitSpec& model, std::int64_t batch) const {
    return pass_seconds(forward, model, batch, 1) + pass_seconds(backward, model, batch, 2);
  }
};

std::optional<PassCurves> pass_curves(const GpuProfile& profile, Precision precision);

/// The curve of updates in this precision, else in one with the same weights, fp32 alone or fp32
/// beside short ones. Else the other kind's, at the ratio that GPUs measured in both show. Nothing
/// where no update was fitted.
std::optional<OperatorCurve> optimizer_curve(const GpuProfile& profile,
                                             Precision precision,
                                             const ProfileSet& profiles);

/// What measured steps take by what curves give for them, by micro-batch.
struct Anchor {
  std::map<std::int64_t, double> log_ratios;

  /// Interpolated on the logarithm of the micro-batch; outside, the nearest; 1 where none are.
  [[nodiscard]] double at(std::int64_t micro_batch) const;
};

/// From all measured steps of a precision, the median over models at each micro-batch.
Anchor anchor_of(const GpuProfile& profile, const PassCurves& passes, Precision precision);

/// What loading a sample takes: by this GPU's own steps where there are some, else what calibrated
/// machines show. It takes the CPU, not the GPU.
Seconds load_per_sample(const std::string& gpu, const ProfileSet& profiles);

/// Adds a model's error to the spread between runs.
void widen(Spread& spread, double error);

/// Times by throughput curves, `anchor` times as long. A `bandwidth` of 0 is unknown. Spread and
/// basis are left to the caller.
std::unique_ptr<ComputeModel> model_of_curves(const TrainingSpec& training,
                                              const PassCurves& passes,
                                              Anchor anchor,
                                              const std::optional<OperatorCurve>& optimizer,
                                              BytesPerSecond bandwidth,
                                              Seconds load_per_sample);

/// Measured steps of this model and precision; nullptr where the profile holds none.
std::unique_ptr<ComputeModel> measured_model(const GpuProfile& profile,
                                             const TrainingSpec& training,
                                             std::int64_t micro_batch);

/// Throughput curves of this GPU in this precision; nullptr where the profile holds none.
std::unique_ptr<ComputeModel> curve_model(const GpuProfile& profile,
                                          const TrainingSpec& training,
                                          const ProfileSet& profiles);

/// This GPU's curves in another precision, scaled by its sheet; nullptr where there are none.
std::unique_ptr<ComputeModel> other_precision_model(const GpuProfile& profile,
                                                    const GpuSheet& sheet,
                                                    const TrainingSpec& training,
                                                    const ProfileSet& profiles);

/// A GPU that nobody measured, by its sheet. Throws UserError where no calibrated GPU is at hand to
/// scale from.
std::unique_ptr<ComputeModel> sheet_model(const std::string& gpu,
                                          const GpuSheet& sheet,
                                          const TrainingSpec& training,
                                          const ProfileSet& profiles);

}  // namespace vitsim
