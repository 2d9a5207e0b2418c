// Phase times measured at micro-batches of this very model and precision. Between two points time
// is a straight line in the batch, since a pass is a constant plus work per image. Outside, the
// nearest point is scaled by what the GPU's operators give for both batches: a straight line would
// take launches for work. Larger batches never take less: where the host's wandering says so,
// neighbours are pooled.
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

MicroBatchTimes at_point(const StepPoint& point) {
  return {.data_load = point.data_load, .forward = point.forward, .backward = point.backward};
}

// The nearest values that never fall: neighbours out of order take their mean.
void pool(std::vector<StepPoint>& points, Seconds StepPoint::*phase) {
  struct Block {
    double sum;
    std::size_t count;
  };

  std::vector<Block> blocks;
  for (const StepPoint& point : points) {
    blocks.push_back({(point.*phase).value(), 1});
    while (blocks.size() > 1) {
      Block& last = blocks.back();
      Block& before = blocks[blocks.size() - 2];
      if (before.sum * static_cast<double>(last.count) <=
          last.sum * static_cast<double>(before.count)) {
        break;
      }
      before.sum += last.sum;
      before.count += last.count;
      blocks.pop_back();
    }
  }
  std::size_t next = 0;
  for (const Block& block : blocks) {
    if (block.count > 1) {
      for (std::size_t i = next; i < next + block.count; ++i) {
        points[i].*phase = Seconds(block.sum / static_cast<double>(block.count));
      }
    }
    next += block.count;
  }
}

// Measured steps, by micro-batch.
class MeasuredModel final : public ComputeModel {
 public:
  MeasuredModel(StepCurve curve, std::optional<PassFunction> passes, double scale)
      : curve_(std::move(curve)), passes_(std::move(passes)), scale_(scale) {
    pool(curve_.points, &StepPoint::forward);
    pool(curve_.points, &StepPoint::backward);
  }

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    if (samples <= 0) {
      return {};
    }
    const std::vector<StepPoint>& points = curve_.points;
    const auto above = std::ranges::lower_bound(points, samples, {}, &StepPoint::micro_batch);
    if (above != points.end() && above->micro_batch == samples) {
      return finish(at_point(*above));
    }
    if (above != points.begin() && above != points.end()) {
      return finish(between(*std::prev(above), *above, samples));
    }
    return finish(beyond(above == points.begin() ? points.front() : points.back(), samples));
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

  // What the operators say of the two batches; work per image where nothing is known of them. What
  // the nearest point takes beyond its operators is the host's as far as the host ruled it, and the
  // device's else: a host that wandered says nothing of kernels.
  [[nodiscard]] MicroBatchTimes beyond(const StepPoint& nearest, std::int64_t samples) const {
    const double share = static_cast<double>(samples) / static_cast<double>(nearest.micro_batch);
    const auto seconds = [&](Pass pass, Seconds measured) {
      if (!passes_) {
        return measured * share;
      }
      const PassTime there = (*passes_)(curve_.model, pass, nearest.micro_batch);
      const double beyond_sum = std::log(measured / there.total());
      const auto corrected = [&](const PassTime& time) {
        return PassTime{.kernels = time.kernels * std::exp(beyond_sum * (1 - there.host_share())),
                        .host = time.host * std::exp(beyond_sum * there.host_share())}
            .total();
      };
      const PassTime here = (*passes_)(curve_.model, pass, samples);
      return corrected(here) * (measured / corrected(there));
    };
    return {.data_load = nearest.data_load * share,
            .forward = seconds(Pass::kForward, nearest.forward),
            .backward = seconds(Pass::kBackward, nearest.backward)};
  }

  // Another class count changes the head alone.
  [[nodiscard]] MicroBatchTimes finish(MicroBatchTimes times) const {
    times.forward = times.forward * scale_;
    times.backward = times.backward * scale_;
    return times;
  }

  StepCurve curve_;
  std::optional<PassFunction> passes_;
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

// How much of a step's logarithm the host's launches decide; 0 where the profile does not tell.
double host_share(const GpuProfile& profile, const StepCurve& curve, std::int64_t micro_batch) {
  const OperatorRates* rates = find_rates(profile, curve.precision);
  if (rates == nullptr || !profile.host) {
    return 0;
  }
  Seconds total;
  Seconds by_host;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const PassTime time = pass_time(*rates,
                                    *profile.host,
                                    pass_operators(*rates, curve.model, pass),
                                    pass,
                                    std::max<std::int64_t>(micro_batch, 1));
    total += time.total();
    by_host += time.host_share() * time.total();
  }
  return by_host / total;
}

}  // namespace

std::unique_ptr<ComputeModel> measured_model(const GpuProfile& profile,
                                             const TrainingSpec& training,
                                             std::int64_t micro_batch,
                                             const ProfileSet& profiles) {
  const StepCurve* matching = matching_curve(profile, training);
  if (matching == nullptr) {
    return nullptr;
  }
  const StepCurve& curve = *matching;
  const double head = forward_flops(training.model) / forward_flops(curve.model);
  auto model = std::make_unique<MeasuredModel>(
      curve, pass_function(profile, training.precision, profiles), head);
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
  const double by_host = host_share(profile, curve, micro_batch);
  if (by_host > 0 && profile.host->sigma) {
    widen(model->spread, by_host * *profile.host->sigma);
  }
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
