// Three ways to know how long a GPU computes, from the surest to the least:
//
// Measured: phase times at micro-batches of this very model and precision. Between two points time
// is a straight line in the batch, since a pass is a constant plus work per image; outside, the
// nearest point is scaled by the throughput curve, or by the line through the two nearest points.
//
// Throughput curves of this GPU in this precision: flops and bytes of the cost graph, scaled so
// that the nearest measured step of the same precision comes out right where there is one.
//
// Data sheets: peak arithmetic and memory bandwidth times the efficiency that calibrated GPUs
// reach, those of near generations weighing more. What leaving one of them out shows is the error.
#include "calibrate/compute_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "calibrate/fit/throughput_fit.h"
#include "models/distribution.h"
#include "models/error.h"
#include "models/words.h"

namespace vitsim {

namespace {

// Errors that leave-one-out shows where a curve does not carry its own.
constexpr double kCurveError = 0.08;
constexpr double kExtrapolationError = 0.04;
constexpr double kSheetError = 0.25;
constexpr double kPrecisionError = 0.2;

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

// Forward and backward curves of one precision.
struct PassCurves {
  OperatorCurve forward;
  OperatorCurve backward;

  [[nodiscard]] double seconds(const VitSpec& model, std::int64_t batch) const {
    return pass_seconds(forward, model, batch, 1) + pass_seconds(backward, model, batch, 2);
  }
};

std::optional<PassCurves> pass_curves(const GpuProfile& profile, Precision precision) {
  const OperatorCurve* forward = find_curve(profile, "forward", precision);
  const OperatorCurve* backward = find_curve(profile, "backward", precision);
  if (forward == nullptr || backward == nullptr) {
    return std::nullopt;
  }
  return PassCurves{*forward, *backward};
}

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

constexpr std::array<std::string_view, 7> kGenerations = {
    "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"};

double generation(const GpuSheet& sheet) {
  const auto found = std::ranges::find(kGenerations, sheet.architecture);
  return static_cast<double>(found - kGenerations.begin());
}

// Precisions whose arithmetic runs at the same speed, the nearest first.
std::vector<Precision> substitutes(Precision precision) {
  using enum Precision;
  switch (precision) {
    case kFp32:
      return {kFp32, kTf32};
    case kTf32:
      return {kTf32, kFp32, kAmpFp16, kAmpBf16};
    case kFp16:
    case kBf16:
      return {precision, precision == kFp16 ? kBf16 : kFp16, kAmpFp16, kAmpBf16, kTf32, kFp32};
    case kAmpFp16:
    case kAmpBf16:
      return {precision, precision == kAmpFp16 ? kAmpBf16 : kAmpFp16, kFp16, kBf16, kTf32, kFp32};
  }
  return {precision};
}

// What share of a data sheet's figures a calibrated GPU reaches.
struct Efficiency {
  double forward_flops = 0;
  double backward_flops = 0;
  double bytes = 0;
  double backward_bytes = 0;
  double optimizer_bytes = 0;
  bool fused_backward = true;
  double weight = 1;
};

std::vector<Efficiency> efficiencies(const std::string& gpu,
                                     const GpuSheet& target,
                                     Precision precision,
                                     const ProfileSet& profiles) {
  std::vector<Efficiency> found;
  for (const auto& [name, profile] : profiles.gpus) {
    const auto sheet = profiles.sheets.find(name);
    const auto passes = pass_curves(profile, precision);
    if (name == gpu || sheet == profiles.sheets.end() || !passes) {
      continue;
    }
    const FlopsPerSecond peak = peak_flops(sheet->second, precision);
    const BytesPerSecond bandwidth = sheet->second.memory_bandwidth;
    const OperatorCurve* optimizer = find_optimizer(profile, precision);
    Efficiency one{
        .forward_flops = passes->forward.flops_per_s / peak,
        .backward_flops = passes->backward.flops_per_s / peak,
        .bytes = passes->forward.bytes_per_s / bandwidth,
        .backward_bytes = passes->backward.bytes_per_s / bandwidth,
        .optimizer_bytes = optimizer == nullptr ? 0.3 : optimizer->bytes_per_s / bandwidth,
        .fused_backward = passes->backward.fused_attention,
        .weight = std::exp(-0.7 * std::abs(generation(sheet->second) - generation(target)))};
    // A GPU at a tenth of its sheet is ill, e.g. short of memory: no guide to others.
    if (one.forward_flops > 0.08) {
      found.push_back(one);
    }
  }
  return found;
}

double weighted_log_mean(const std::vector<Efficiency>& all, double Efficiency::*member) {
  double sum = 0;
  double weights = 0;
  for (const Efficiency& one : all) {
    sum += one.weight * std::log(one.*member);
    weights += one.weight;
  }
  return std::exp(sum / weights);
}

double weighted_log_sigma(const std::vector<Efficiency>& all) {
  const double center = std::log(weighted_log_mean(all, &Efficiency::forward_flops));
  double sum = 0;
  double weights = 0;
  for (const Efficiency& one : all) {
    const double deviation = std::log(one.forward_flops) - center;
    sum += one.weight * deviation * deviation;
    weights += one.weight;
  }
  // Few GPUs cannot know how far another falls: shrunk to a prior worth four of them.
  constexpr double kPriorGpus = 4;
  const auto n = static_cast<double>(all.size());
  const double own = n < 2 ? 0 : sum / weights * (n + 1) / (n - 1);
  return std::sqrt((n * own + kPriorGpus * kSheetError * kSheetError) / (n + kPriorGpus));
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

void widen(Spread& spread, double error) {
  const double run = spread.run_sigma.value_or(0);
  spread.run_sigma = std::sqrt(run * run + error * error);
}

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

std::unique_ptr<ComputeModel> from_steps(const GpuProfile& profile,
                                         const StepCurve& curve,
                                         const TrainingSpec& training,
                                         std::int64_t micro_batch) {
  const double head = forward_flops(training.model) / forward_flops(curve.model);
  auto model =
      std::make_unique<MeasuredModel>(curve, pass_curves(profile, training.precision), head);
  const double parameters = static_cast<double>(parameter_count(training.model)) /
                            static_cast<double>(parameter_count(curve.model));
  const double optimizer_change = curve.optimizer == training.optimizer.kind       ? 1
                                  : training.optimizer.kind == OptimizerKind::kSgd ? 20.0 / 28
                                  : curve.optimizer == OptimizerKind::kSgd         ? 28.0 / 20
                                                                                   : 1;
  const auto nearest = std::ranges::min_element(curve.points, {}, [&](const StepPoint& point) {
    return std::abs(point.micro_batch - micro_batch);
  });
  model->optimizer = nearest->optimizer * (parameters * optimizer_change);
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

// Measured steps of the same precision by what the curves give for them.
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

void set_curve_extras(ComputeModel& model,
                      const TrainingSpec& training,
                      const OperatorCurve* optimizer,
                      BytesPerSecond bandwidth) {
  const double bytes = static_cast<double>(parameter_count(training.model)) *
                       gradient_bytes_per_parameter(training.precision).value();
  if (optimizer != nullptr) {
    model.optimizer =
        Seconds(optimizer_seconds(*optimizer, training.model, training.optimizer.kind));
  }
  if (training.gradient_sync != GradientSync::kDdp && bandwidth.value() > 0) {
    // Flattening reads and writes every gradient once, and once more on the way back.
    model.other = Bytes(4 * bytes) / (bandwidth * 0.8);
  }
}

std::unique_ptr<ComputeModel> from_curves(const GpuProfile& profile,
                                          const TrainingSpec& training,
                                          const ProfileSet& profiles,
                                          const PassCurves& passes) {
  const double anchor = anchor_of(profile, passes, training.precision);
  auto model = std::make_unique<CurveModel>(training.model, passes, anchor, typical_load(profiles));
  const auto sheet = profiles.sheets.find(profile.name);
  set_curve_extras(
      *model,
      training,
      find_optimizer(profile, training.precision),
      sheet == profiles.sheets.end() ? BytesPerSecond(0) : sheet->second.memory_bandwidth);
  const double error = std::max(passes.forward.error.value_or(kCurveError),
                                passes.backward.error.value_or(kCurveError));
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

// What another precision brings relative to its peak, as GPUs calibrated in both show.
double precision_efficiency(Precision from, Precision to, const ProfileSet& profiles) {
  std::vector<double> ratios;
  for (const auto& [name, profile] : profiles.gpus) {
    const auto sheet = profiles.sheets.find(name);
    const auto before = pass_curves(profile, from);
    const auto after = pass_curves(profile, to);
    if (sheet != profiles.sheets.end() && before && after) {
      const double peaks = peak_flops(sheet->second, to) / peak_flops(sheet->second, from);
      ratios.push_back(after->forward.flops_per_s / before->forward.flops_per_s / peaks);
    }
  }
  return ratios.empty() ? 1 : median(ratios);
}

// This GPU's own curves in another precision. Where the hardware has no faster arithmetic for the
// wanted one (no tensor cores), both take as long.
std::unique_ptr<ComputeModel> from_other_precision(const GpuProfile& profile,
                                                   const GpuSheet& sheet,
                                                   const TrainingSpec& training,
                                                   const ProfileSet& profiles) {
  for (const Precision precision : substitutes(training.precision)) {
    auto passes = pass_curves(profile, precision);
    if (precision == training.precision || !passes) {
      continue;
    }
    const double anchor = anchor_of(profile, *passes, precision);
    const double peaks = peak_flops(sheet, training.precision) / peak_flops(sheet, precision);
    const bool same_arithmetic = std::abs(peaks - 1) < 0.05;
    const double faster =
        same_arithmetic ? 1 : peaks * precision_efficiency(precision, training.precision, profiles);
    for (OperatorCurve* curve : {&passes->forward, &passes->backward}) {
      curve->precision = training.precision;
      curve->flops_per_s = curve->flops_per_s * faster;
    }
    auto model =
        std::make_unique<CurveModel>(training.model, *passes, anchor, typical_load(profiles));
    set_curve_extras(
        *model, training, find_optimizer(profile, training.precision), sheet.memory_bandwidth);
    const double error = same_arithmetic ? kPrecisionError / 2 : kPrecisionError;
    model->spread = profile.spread;
    widen(model->spread, error);
    model->basis = {.kind = "data-sheet",
                    .detail = fmt::format("this GPU was measured in {}, not in {}: scaled by the "
                                          "peaks of its data sheet{}",
                                          name(precision),
                                          name(training.precision),
                                          same_arithmetic ? ", which are equal" : ""),
                    .error = error};
    return model;
  }
  return nullptr;
}

std::unique_ptr<ComputeModel> from_sheet(const std::string& gpu,
                                         const GpuSheet& sheet,
                                         const TrainingSpec& training,
                                         const ProfileSet& profiles) {
  for (const Precision precision : substitutes(training.precision)) {
    const std::vector<Efficiency> all = efficiencies(gpu, sheet, precision, profiles);
    if (all.empty()) {
      continue;
    }
    const FlopsPerSecond peak = peak_flops(sheet, training.precision);
    PassCurves passes;
    passes.forward = {
        .kind = "forward",
        .precision = training.precision,
        .flops_per_s = peak * weighted_log_mean(all, &Efficiency::forward_flops),
        .bytes_per_s = sheet.memory_bandwidth * weighted_log_mean(all, &Efficiency::bytes),
        .overhead = microseconds(5)};
    passes.backward = passes.forward;
    passes.backward.kind = "backward";
    passes.backward.flops_per_s = peak * weighted_log_mean(all, &Efficiency::backward_flops);
    passes.backward.bytes_per_s =
        sheet.memory_bandwidth * weighted_log_mean(all, &Efficiency::backward_bytes);
    passes.backward.fused_attention =
        std::ranges::all_of(all, [](const Efficiency& one) { return one.fused_backward; });
    auto model = std::make_unique<CurveModel>(training.model, passes, 1, typical_load(profiles));
    const OperatorCurve optimizer{
        .kind = "optimizer",
        .bytes_per_s =
            sheet.memory_bandwidth * weighted_log_mean(all, &Efficiency::optimizer_bytes)};
    set_curve_extras(*model, training, &optimizer, sheet.memory_bandwidth);
    double error = weighted_log_sigma(all);
    if (precision != training.precision) {
      error = std::hypot(error, kPrecisionError);
    }
    model->spread.run_sigma = error;
    model->spread.run_degrees = static_cast<int>(std::max<std::size_t>(all.size(), 3));
    model->basis = {
        .kind = "data-sheet",
        .detail = fmt::format(
            "nothing was measured on a {} in {}: its data sheet times "
            "what {} calibrated GPU{} of theirs{}",
            gpu,
            name(training.precision),
            all.size(),
            all.size() == 1 ? " reaches" : "s reach",
            precision == training.precision ? "" : fmt::format(" in {}", name(precision))),
        .error = error};
    return model;
  }
  throw UserError(fmt::format(
      "GPU \"{}\" has a data sheet but no calibrated GPU to scale from: run `vitsim calibrate` on "
      "one, or add a profile folder to /profiles",
      gpu));
}

// Memory figures of this GPU, else typical ones of the calibrated.
MemoryModel memory_of(const std::string& gpu, const ProfileSet& profiles) {
  const auto own = profiles.gpus.find(gpu);
  if (own != profiles.gpus.end() && own->second.memory_constant) {
    return {.constant = *own->second.memory_constant,
            .alone = own->second.memory_alone,
            .activation_factor = own->second.activation_factor};
  }
  std::vector<double> constants;
  std::vector<double> factors;
  for (const auto& [name, profile] : profiles.gpus) {
    if (profile.memory_constant) {
      constants.push_back(profile.memory_constant->value());
      factors.push_back(profile.activation_factor);
    }
  }
  return constants.empty() ? MemoryModel{.constant = mebibytes(600)}
                           : MemoryModel{.constant = Bytes(median(constants)),
                                         .activation_factor = median(factors)};
}

}  // namespace

FlopsPerSecond peak_flops(const GpuSheet& sheet, Precision precision) {
  const FlopsPerSecond fp32 = sheet.fp32;
  switch (precision) {
    case Precision::kFp32:
      return fp32;
    case Precision::kTf32:
      return std::max(fp32, sheet.tf32.value_or(fp32));
    case Precision::kFp16:
    case Precision::kAmpFp16:
      return std::max(fp32, sheet.fp16.value_or(fp32));
    case Precision::kBf16:
    case Precision::kAmpBf16:
      return std::max(fp32, sheet.bf16.value_or(fp32));
  }
  return fp32;
}

std::unique_ptr<ComputeModel> make_compute_model(const std::string& gpu,
                                                 const TrainingSpec& training,
                                                 std::int64_t micro_batch,
                                                 const ProfileSet& profiles) {
  const auto profile = profiles.gpus.find(gpu);
  const auto sheet = profiles.sheets.find(gpu);
  std::unique_ptr<ComputeModel> model;
  if (profile != profiles.gpus.end()) {
    if (const StepCurve* curve = matching_curve(profile->second, training)) {
      model = from_steps(profile->second, *curve, training, micro_batch);
    } else if (const auto passes = pass_curves(profile->second, training.precision)) {
      model = from_curves(profile->second, training, profiles, *passes);
    }
  }
  if (!model) {
    if (sheet == profiles.sheets.end()) {
      throw UserError(
          profile == profiles.gpus.end()
              ? fmt::format("unknown GPU \"{}\"", gpu)
              : fmt::format("GPU \"{}\" was not measured in {} and has no data sheet to scale by",
                            gpu,
                            name(training.precision)));
    }
    if (profile != profiles.gpus.end()) {
      model = from_other_precision(profile->second, sheet->second, training, profiles);
    }
    if (!model) {
      model = from_sheet(gpu, sheet->second, training, profiles);
    }
  }
  if (profile != profiles.gpus.end()) {
    model->epoch_start = profile->second.epoch_start;
    model->overlap_slowdown = profile->second.overlap_slowdown;
    model->capacity = profile->second.memory;
    model->device_name = profile->second.device_name;
    if (!model->spread.unit_sigma) {
      model->spread.unit_sigma = profile->second.spread.unit_sigma;
    }
  }
  if (sheet != profiles.sheets.end()) {
    model->capacity = model->capacity.value_or(sheet->second.memory);
    if (model->device_name.empty()) {
      model->device_name = sheet->second.device_name;
    }
  }
  model->memory = memory_of(gpu, profiles);
  return model;
}

}  // namespace vitsim
