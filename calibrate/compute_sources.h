#pragma once

// Internal: the ways to know a GPU's compute times, of which compute_model.cpp takes the best.

#include <cstdint>
#include <memory>
#include <optional>

#include "calibrate/compute_model.h"
#include "calibrate/fit/throughput_fit.h"

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

/// The curve of updates in this precision, else in any; nullptr where none was fitted.
const OperatorCurve* find_optimizer(const GpuProfile& profile, Precision precision);

/// What measured steps of a precision take by what the curves give for them; 1 where none are.
double anchor_of(const GpuProfile& profile, const PassCurves& passes, Precision precision);

/// Adds a model's error to the spread between runs.
void widen(Spread& spread, double error);

/// Times by throughput curves, `anchor` times as long. `optimizer` may be null; a `bandwidth` of 0
/// is unknown. Spread and basis are left to the caller.
std::unique_ptr<ComputeModel> model_of_curves(const TrainingSpec& training,
                                              const PassCurves& passes,
                                              double anchor,
                                              const OperatorCurve* optimizer,
                                              BytesPerSecond bandwidth,
                                              const ProfileSet& profiles);

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
