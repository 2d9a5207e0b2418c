#pragma once

// Internal: the ways to know a GPU's compute times, of which compute_model.cpp takes the best.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "calibrate/compute/operator_curve.h"
#include "calibrate/compute/operator_rates.h"

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

const OperatorRates* find_rates(const GpuProfile& profile, Precision precision);

/// By the rates of this GPU in this precision, else by its curves; nothing where it has neither.
std::optional<PassFunction> pass_function(const GpuProfile& profile,
                                          Precision precision,
                                          const ProfileSet& profiles);

/// What the hosts of calibrated GPUs take to launch a kernel, those of near generations weighing
/// more: the host is bought with the GPU. The profile's own where it shows one.
HostLaunch host_launch(const std::string& gpu, const ProfileSet& profiles);

/// How much a calibrated GPU tells of another: less with every generation between them, and with
/// another kind of memory. Figures of the data sheets play no part, so that a faster sheet never
/// changes who is asked.
double kinship(const GpuSheet& a, const GpuSheet& b);

/// Rates of a GPU in a precision in which nobody measured it.
struct ScaledRates {
  OperatorRates rates;
  double error = 0;  // standard deviation of the logarithm of a pass
  std::vector<std::string> donors;
  bool own = false;  // from this GPU's rates in another precision
};

/// From calibrated GPUs, kind by kind: arithmetic with arithmetic of the same unit, the others with
/// the memory. Nothing where no calibrated GPU is at hand.
std::optional<ScaledRates> scaled_rates(const std::string& gpu,
                                        const GpuSheet& sheet,
                                        Precision precision,
                                        const ProfileSet& profiles);

/// The same on another unit than the precision's own.
std::optional<ScaledRates> scaled_rates(const std::string& gpu,
                                        const GpuSheet& sheet,
                                        Precision precision,
                                        ArithmeticUnit unit,
                                        const ProfileSet& profiles);

/// Rates of this GPU in this precision, corrected by its measured steps; nullptr where the profile
/// holds none.
std::unique_ptr<ComputeModel> operator_model(const GpuProfile& profile,
                                             const TrainingSpec& training,
                                             const ProfileSet& profiles);

/// Rates by data sheets; nullptr where no GPU with rates is at hand.
std::unique_ptr<ComputeModel> scaled_model(const std::string& gpu,
                                           const GpuSheet& sheet,
                                           const TrainingSpec& training,
                                           const ProfileSet& profiles);

/// Copies of gradients into one flat piece and back, where the training makes them.
Seconds gradient_copies(const TrainingSpec& training, BytesPerSecond bandwidth);

/// The same as the measured model nearest in size showed; 0 where none did.
Seconds measured_copies(const GpuProfile& profile, const TrainingSpec& training);

/// What measured steps take by what curves give for them, by micro-batch.
struct Anchor {
  std::map<std::int64_t, double> log_ratios;

  /// Interpolated on the logarithm of the micro-batch; outside, the nearest; 1 where none are.
  [[nodiscard]] double at(std::int64_t micro_batch) const;
};

/// From all measured steps of a precision, the median over models at each micro-batch.
Anchor anchor_of(const GpuProfile& profile, const PassCurves& passes, Precision precision);

/// What loading a sample takes: by this GPU's own steps where there are some, else what calibrated
/// machines show. It takes the CPU, not the GPU, and goes with the values of an image: channels
/// times pixels.
Seconds load_per_sample(const std::string& gpu, const VitSpec& model, const ProfileSet& profiles);

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
                                             std::int64_t micro_batch,
                                             const ProfileSet& profiles);

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
