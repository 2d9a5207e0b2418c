// Phase times measured at micro-batches of this very model and precision. Between two points time
// is a straight line in the batch, since a pass is a constant plus work per image; outside, the
// nearest point is scaled by the throughput curve, or by the line through the two nearest points.
#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "calibrate/compute/compute_sources.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

// What leave-one-out shows, per doubling of the batch beyond what was measured.
constexpr double kExtrapolationError = 0.04;

MicroBatchTimes scaled(const StepPoint& point, double factor, double samples) {
  return {.data_load = point.data_load * (samples / static_cast<double>(point.micro_batch)),
          .forward = point.forward * factor,
          .backward = point.backward * factor};
}

// Measured steps, by micro-batch.
class MeasuredModel final : public ComputeModel {
 public:
  MeasuredModel(StepCurve curve, std::optional<PassCurves> passes, double scale)
      : curve_(std::move(curve)), passes_(std::move(passes)), scale_(scale) {}

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    if (samples <= 0) {
      return {};
    }
    const std::vector<StepPoint>& points = curve_.points;
    const auto above = std::ranges::lower_bound(points, samples, {}, &StepPoint::micro_batch);
    if (above != points.end() && above->micro_batch == samples) {
      return finish(scaled(*above, 1, static_cast<double>(samples)));
    }
    if (above != points.begin() && above != points.end()) {
      return finish(between(*std::prev(above), *above, samples));
    }
    const bool below = above == points.begin();
    const StepPoint& nearest = below ? points.front() : points.back();
    if (points.size() > 1) {
      const StepPoint& next = below ? points[1] : points[points.size() - 2];
      MicroBatchTimes line = between(next, nearest, samples);
      // A line that would reach zero knows nothing there: work per image is the least.
      const double share = static_cast<double>(samples) / static_cast<double>(nearest.micro_batch);
      if (below) {
        line.forward = std::max(line.forward, nearest.forward * share);
        line.backward = std::max(line.backward, nearest.backward * share);
      }
      return finish(line);
    }
    const double factor =
        passes_ ? passes_->seconds(curve_.model, samples) /
                      passes_->seconds(curve_.model, nearest.micro_batch)
                : static_cast<double>(samples) / static_cast<double>(nearest.micro_batch);
    return finish(scaled(nearest, factor, static_cast<double>(samples)));
  }

 private:
  static MicroBatchTimes between(const StepPoint& a, const StepPoint& b, std::int64_t samples) {
    const double position = static_cast<double>(samples - a.micro_batch) /
                            static_cast<double>(b.micro_batch - a.micro_batch);
    const auto mix = [&](Seconds x, Seconds y) {
      return std::max(Seconds(0), x + (y - x) * position);
    };
    return {.data_load = mix(a.data_load, b.data_load),
            .forward = mix(a.forward, b.forward),
            .backward = mix(a.backward, b.backward)};
  }

  // Another class count changes the head alone.
  [[nodiscard]] MicroBatchTimes finish(MicroBatchTimes times) const {
    times.forward = times.forward * scale_;
    times.backward = times.backward * scale_;
    return times;
  }

  StepCurve curve_;
  std::optional<PassCurves> passes_;
  double scale_;
};

const StepCurve* matching_curve(const GpuProfile& profile, const TrainingSpec& training) {
  const StepCurve* found = nullptr;
  for (const StepCurve& curve : profile.steps) {
    if (!curve.points.empty() && curve.precision == training.precision &&
        same_architecture(curve.model, training.model)) {
      const bool better = found == nullptr || (curve.model.classes == training.model.classes &&
                                               curve.optimizer == training.optimizer.kind);
      found = better ? &curve : found;
    }
  }
  return found;
}

}  // namespace

std::unique_ptr<ComputeModel> measured_model(const GpuProfile& profile,
                                             const TrainingSpec& training,
                                             std::int64_t micro_batch) {
  const StepCurve* matching = matching_curve(profile, training);
  if (matching == nullptr) {
    return nullptr;
  }
  const StepCurve& curve = *matching;
  const double head = forward_flops(training.model) / forward_flops(curve.model);
  auto model =
      std::make_unique<MeasuredModel>(curve, pass_curves(profile, training.precision), head);
  const double parameters = static_cast<double>(parameter_count(training.model)) /
                            static_cast<double>(parameter_count(curve.model));
  const double update_bytes = update_bytes_per_parameter(training.optimizer.kind) /
                              update_bytes_per_parameter(curve.optimizer);
  const auto nearest = std::ranges::min_element(curve.points, {}, [&](const StepPoint& point) {
    return std::abs(point.micro_batch - micro_batch);
  });
  model->optimizer = nearest->optimizer * (parameters * update_bytes);
  model->other = nearest->other * parameters;
  model->spread = profile.spread;
  const std::int64_t low = curve.points.front().micro_batch;
  const std::int64_t high = curve.points.back().micro_batch;
  if (nearest->micro_batch == micro_batch) {
    model->basis = {
        .kind = "measured",
        .detail = fmt::format("{} in {} at micro-batch {}, measured",
                              curve.model.name,
                              name(curve.precision),
                              micro_batch),
        .error = profile.fit.runs > 0 ? std::optional(profile.fit.mean_abs_error) : std::nullopt};
  } else if (micro_batch > low && micro_batch < high) {
    model->basis = {
        .kind = "interpolated",
        .detail = fmt::format("{} in {}: micro-batch {} between measured {} and {}",
                              curve.model.name,
                              name(curve.precision),
                              micro_batch,
                              low,
                              high),
        .error = profile.fit.runs > 0 ? std::optional(profile.fit.mean_abs_error) : std::nullopt};
  } else {
    const double ratio = micro_batch > high
                             ? static_cast<double>(micro_batch) / static_cast<double>(high)
                             : static_cast<double>(low) / static_cast<double>(micro_batch);
    const double error = kExtrapolationError * std::log2(ratio);
    if (profile.spread.run_sigma) {
      widen(model->spread, error);
    }
    model->basis = {.kind = "extrapolated",
                    .detail = fmt::format("{} in {}: micro-batch {} outside of what was measured, "
                                          "{} to {}",
                                          curve.model.name,
                                          name(curve.precision),
                                          micro_batch,
                                          low,
                                          high),
                    .error = error + profile.fit.mean_abs_error};
  }
  return model;
}

}  // namespace vitsim
