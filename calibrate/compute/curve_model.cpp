// Throughput curves of this GPU in this precision: flops and bytes of the cost graph, scaled so
// that the measured steps of the same precision come out right where there are some.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "calibrate/compute/compute_sources.h"
#include "models/distribution.h"
#include "models/vit/gradient_copies.h"

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
  CurveModel(VitSpec model, PassCurves passes, Anchor anchor, Seconds load_per_sample)
      : model_(std::move(model)),
        passes_(std::move(passes)),
        anchor_(std::move(anchor)),
        load_per_sample_(load_per_sample) {}

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    if (samples <= 0) {
      return {};
    }
    const double anchor = anchor_.at(samples);
    return {.data_load = load_per_sample_ * static_cast<double>(samples),
            .forward = Seconds(anchor * pass_seconds(passes_.forward, model_, samples, 1)),
            .backward = Seconds(anchor * pass_seconds(passes_.backward, model_, samples, 2))};
  }

 private:
  VitSpec model_;
  PassCurves passes_;
  Anchor anchor_;
  Seconds load_per_sample_;
};

double values_of(const VitSpec& model) {
  return static_cast<double>(model.channels) * static_cast<double>(model.image_size) *
         static_cast<double>(model.image_size);
}

// Adds what each measured point loaded, per value of an image.
void add_loads(const GpuProfile& profile, std::vector<double>& per_value) {
  for (const StepCurve& curve : profile.steps) {
    for (const StepPoint& point : curve.points) {
      per_value.push_back(point.data_load.value() / static_cast<double>(point.micro_batch) /
                          values_of(curve.model));
    }
  }
}

// The curve of updates that hold the same weights, in this very precision if there is one.
const OperatorCurve* find_updates(const GpuProfile& profile, Precision precision) {
  if (const OperatorCurve* own = find_curve(profile, "optimizer", precision)) {
    return own;
  }
  const auto alike = std::ranges::find_if(profile.operators, [&](const OperatorCurve& curve) {
    return curve.kind == "optimizer" &&
           has_master_weights(curve.precision) == has_master_weights(precision);
  });
  return alike == profile.operators.end() ? nullptr : &*alike;
}

}  // namespace

// Caches make small models' copies cheaper.
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

Seconds gradient_copies(const TrainingSpec& training, BytesPerSecond bandwidth) {
  if (!flattens_gradients(training) || bandwidth.value() <= 0) {
    return Seconds(0);
  }
  // Flattening reads and writes every gradient once, and once more on the way back.
  const Bytes gradients = static_cast<double>(parameter_count(training.model)) *
                          gradient_bytes_per_parameter(training.precision);
  return 4 * gradients / (bandwidth * 0.8);
}

std::optional<PassCurves> pass_curves(const GpuProfile& profile, Precision precision) {
  const OperatorCurve* forward = find_curve(profile, "forward", precision);
  const OperatorCurve* backward = find_curve(profile, "backward", precision);
  if (forward == nullptr || backward == nullptr) {
    return std::nullopt;
  }
  return PassCurves{*forward, *backward};
}

std::optional<OperatorCurve> optimizer_curve(const GpuProfile& profile,
                                             Precision precision,
                                             const ProfileSet& profiles) {
  if (const OperatorCurve* alike = find_updates(profile, precision)) {
    return *alike;
  }
  const auto any = std::ranges::find(profile.operators, "optimizer", &OperatorCurve::kind);
  if (any == profile.operators.end()) {
    return std::nullopt;
  }
  std::vector<double> ratios;
  for (const auto& [name, other] : profiles.gpus) {
    const OperatorCurve* from = find_updates(other, any->precision);
    const OperatorCurve* to = find_updates(other, precision);
    if (from != nullptr && to != nullptr) {
      ratios.push_back(to->bytes_per_s / from->bytes_per_s);
    }
  }
  OperatorCurve scaled = *any;
  scaled.precision = precision;
  scaled.bytes_per_s = scaled.bytes_per_s * (ratios.empty() ? 1 : median(ratios));
  return scaled;
}

double Anchor::at(std::int64_t micro_batch) const {
  if (log_ratios.empty()) {
    return 1;
  }
  const auto above = log_ratios.lower_bound(micro_batch);
  if (above == log_ratios.begin()) {
    return std::exp(above->second);
  }
  const auto below = std::prev(above);
  if (above == log_ratios.end()) {
    return std::exp(below->second);
  }
  const auto log = [](std::int64_t batch) { return std::log(static_cast<double>(batch)); };
  const double position =
      (log(micro_batch) - log(below->first)) / (log(above->first) - log(below->first));
  return std::exp(std::lerp(below->second, above->second, position));
}

Anchor anchor_of(const GpuProfile& profile, const PassCurves& passes, Precision precision) {
  std::map<std::int64_t, std::vector<double>> seen;
  for (const StepCurve& curve : profile.steps) {
    for (const StepPoint& point : curve.points) {
      if (curve.precision == precision) {
        const double ratio = (point.forward + point.backward).value() /
                             passes.seconds(curve.model, point.micro_batch);
        seen[point.micro_batch].push_back(std::log(ratio));
      }
    }
  }
  Anchor anchor;
  for (const auto& [micro_batch, logarithms] : seen) {
    anchor.log_ratios[micro_batch] = median(logarithms);
  }
  return anchor;
}

Seconds load_per_sample(const std::string& gpu, const VitSpec& model, const ProfileSet& profiles) {
  if (model.is_token_model()) {
    return Seconds(0);  // a few thousand numbers
  }
  std::vector<double> loads;
  if (const auto own = profiles.gpus.find(gpu); own != profiles.gpus.end()) {
    add_loads(own->second, loads);
  }
  if (loads.empty()) {
    for (const auto& [name, profile] : profiles.gpus) {
      add_loads(profile, loads);
    }
    // A GPU whose loading hid behind its steps says nothing of another machine's.
    std::erase(loads, 0.0);
  }
  return Seconds(loads.empty() ? 0 : median(loads) * values_of(model));
}

std::unique_ptr<ComputeModel> model_of_curves(const TrainingSpec& training,
                                              const PassCurves& passes,
                                              Anchor anchor,
                                              const std::optional<OperatorCurve>& optimizer,
                                              BytesPerSecond bandwidth,
                                              Seconds load_per_sample) {
  auto model =
      std::make_unique<CurveModel>(training.model, passes, std::move(anchor), load_per_sample);
  if (optimizer) {
    model->optimizer =
        Seconds(optimizer_seconds(*optimizer, training.model, training.optimizer.kind));
  }
  model->other = gradient_copies(training, bandwidth);
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
      optimizer_curve(profile, training.precision, profiles),
      sheet == profiles.sheets.end() ? BytesPerSecond(0) : sheet->second.memory_bandwidth,
      load_per_sample(profile.name, training.model, profiles));
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
