// Throughput curves of this GPU in this precision: flops and bytes of the cost graph, scaled so
// that the measured steps of the same precision come out right where there are some.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "calibrate/compute_sources.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

// Where a curve does not carry what leave-one-out shows.
constexpr double kCurveError = 0.08;

const OperatorCurve* find_curve(const GpuProfile& profile,
                                const std::string& kind,
                                Precision precision) {
  for (const OperatorCurve& curve : profile.operators) {
    if (curve.kind == kind && curve.precision == precision) {
      return &curve;
    }
  }
  return nullptr;
}

// Throughput curves, scaled to agree with what was measured.
class CurveModel final : public ComputeModel {
 public:
  CurveModel(VitSpec model, PassCurves passes, double anchor, Seconds load_per_sample)
      : model_(std::move(model)),
        passes_(std::move(passes)),
        anchor_(anchor),
        load_per_sample_(load_per_sample) {}

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    if (samples <= 0) {
      return {};
    }
    return {.data_load = load_per_sample_ * static_cast<double>(samples),
            .forward = Seconds(anchor_ * pass_seconds(passes_.forward, model_, samples, 1)),
            .backward = Seconds(anchor_ * pass_seconds(passes_.backward, model_, samples, 2))};
  }

 private:
  VitSpec model_;
  PassCurves passes_;
  double anchor_;
  Seconds load_per_sample_;
};

// Copies of gradients into buckets or one flat piece and back, as the measured model nearest in
// size showed; 0 where none did. Caches make small models' copies cheaper.
Seconds measured_copies(const GpuProfile& profile, const TrainingSpec& training) {
  const auto parameters = static_cast<double>(parameter_count(training.model));
  Seconds copies(0);
  double nearest = std::numeric_limits<double>::infinity();
  for (const StepCurve& curve : profile.steps) {
    const auto ratio = parameters / static_cast<double>(parameter_count(curve.model));
    if (curve.precision == training.precision && !curve.points.empty() &&
        std::abs(std::log(ratio)) < nearest) {
      nearest = std::abs(std::log(ratio));
      copies = curve.points.back().other * ratio;
    }
  }
  return copies;
}

// Loading takes the CPU, not the GPU: what calibrated machines showed, per sample.
Seconds typical_load(const ProfileSet& profiles) {
  std::vector<double> per_sample;
  for (const auto& [name, profile] : profiles.gpus) {
    for (const StepCurve& curve : profile.steps) {
      for (const StepPoint& point : curve.points) {
        if (point.data_load.value() > 0) {
          per_sample.push_back(point.data_load.value() / static_cast<double>(point.micro_batch));
        }
      }
    }
  }
  return Seconds(per_sample.empty() ? 0 : median(per_sample));
}

}  // namespace

std::optional<PassCurves> pass_curves(const GpuProfile& profile, Precision precision) {
  const OperatorCurve* forward = find_curve(profile, "forward", precision);
  const OperatorCurve* backward = find_curve(profile, "backward", precision);
  if (forward == nullptr || backward == nullptr) {
    return std::nullopt;
  }
  return PassCurves{*forward, *backward};
}

const OperatorCurve* find_optimizer(const GpuProfile& profile, Precision precision) {
  const OperatorCurve* curve = find_curve(profile, "optimizer", precision);
  if (curve != nullptr) {
    return curve;
  }
  for (const OperatorCurve& any : profile.operators) {
    if (any.kind == "optimizer") {
      return &any;
    }
  }
  return nullptr;
}

double anchor_of(const GpuProfile& profile, const PassCurves& passes, Precision precision) {
  std::vector<double> ratios;
  for (const StepCurve& curve : profile.steps) {
    for (const StepPoint& point : curve.points) {
      if (curve.precision == precision && point.count > 0) {
        ratios.push_back((point.forward + point.backward).value() /
                         passes.seconds(curve.model, point.micro_batch));
      }
    }
  }
  return ratios.empty() ? 1 : median(ratios);
}

std::unique_ptr<ComputeModel> model_of_curves(const TrainingSpec& training,
                                              const PassCurves& passes,
                                              double anchor,
                                              const OperatorCurve* optimizer,
                                              BytesPerSecond bandwidth,
                                              const ProfileSet& profiles) {
  auto model = std::make_unique<CurveModel>(training.model, passes, anchor, typical_load(profiles));
  const double bytes = static_cast<double>(parameter_count(training.model)) *
                       gradient_bytes_per_parameter(training.precision).value();
  if (optimizer != nullptr) {
    model->optimizer =
        Seconds(optimizer_seconds(*optimizer, training.model, training.optimizer.kind));
  }
  if (training.gradient_sync != GradientSync::kDdp && bandwidth.value() > 0) {
    // Flattening reads and writes every gradient once, and once more on the way back.
    model->other = Bytes(4 * bytes) / (bandwidth * 0.8);
  }
  return model;
}

std::unique_ptr<ComputeModel> curve_model(const GpuProfile& profile,
                                          const TrainingSpec& training,
                                          const ProfileSet& profiles) {
  const auto passes = pass_curves(profile, training.precision);
  if (!passes) {
    return nullptr;
  }
  const auto sheet = profiles.sheets.find(profile.name);
  auto model = model_of_curves(
      training,
      *passes,
      anchor_of(profile, *passes, training.precision),
      find_optimizer(profile, training.precision),
      sheet == profiles.sheets.end() ? BytesPerSecond(0) : sheet->second.memory_bandwidth,
      profiles);
  if (const Seconds copies = measured_copies(profile, training); copies > Seconds(0)) {
    model->other = copies;
  }
  const double error = std::max(passes->forward.error.value_or(kCurveError),
                                passes->backward.error.value_or(kCurveError));
  model->spread = profile.spread;
  widen(model->spread, error);
  model->spread.run_degrees = model->spread.run_degrees.value_or(6);
  model->basis = {.kind = "operator-curves",
                  .detail = fmt::format("{} in {} was not measured: from throughput fitted to "
                                        "other models on this GPU",
                                        training.model.name,
                                        name(training.precision)),
                  .error = error};
  return model;
}

}  // namespace vitsim
