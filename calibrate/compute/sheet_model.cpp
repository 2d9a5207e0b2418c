// Data sheets: peak arithmetic and memory bandwidth times the efficiency that calibrated GPUs
// reach, those of near generations weighing more. What leaving one of them out shows is the error.
// Without figures in the wanted precision, the ratio of the sheet's peaks leads from another one.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "calibrate/compute/compute_sources.h"
#include "calibrate/compute/gpu_generation.h"
#include "models/distribution.h"
#include "models/document/words.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr double kSheetError = 0.25;
constexpr double kPrecisionError = 0.2;

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

// What share of a data sheet's figures a calibrated GPU reaches, and what its host's launches take.
// 0: no such term in its curve.
struct Efficiency {
  double forward_flops = 0;
  double backward_flops = 0;
  double bytes = 0;
  double backward_bytes = 0;
  double optimizer_bytes = 0;
  double forward_launch_s = 0;
  double backward_launch_s = 0;
  bool fused_backward = true;
  double weight = 1;
};

std::vector<Efficiency> efficiencies(const std::string& gpu,
                                     const GpuSheet& target,
                                     Precision precision,
                                     Precision wanted,
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
    const auto optimizer = optimizer_curve(profile, wanted, profiles);
    Efficiency one{.forward_flops = passes->forward.flops_per_s / peak,
                   .backward_flops = passes->backward.flops_per_s / peak,
                   .bytes = passes->forward.bytes_per_s / bandwidth,
                   .backward_bytes = passes->backward.bytes_per_s / bandwidth,
                   .optimizer_bytes = optimizer ? optimizer->bytes_per_s / bandwidth : 0.3,
                   .forward_launch_s = passes->forward.overhead.value(),
                   .backward_launch_s = passes->backward.overhead.value(),
                   .fused_backward = passes->backward.fused_attention,
                   .weight = std::exp(
                       -0.7 * std::abs(gpu_generation(sheet->second) - gpu_generation(target)))};
    // A GPU at a tenth of its sheet is ill, e.g. short of memory: no guide to others.
    if (one.forward_flops > 0.08) {
      found.push_back(one);
    }
  }
  return found;
}

// Of those that have the term; 0 where none has.
double weighted_log_mean(const std::vector<Efficiency>& all, double Efficiency::*member) {
  double sum = 0;
  double weights = 0;
  for (const Efficiency& one : all) {
    if (one.*member > 0) {
      sum += one.weight * std::log(one.*member);
      weights += one.weight;
    }
  }
  return weights > 0 ? std::exp(sum / weights) : 0;
}

// Launches are the host's affair, of which few hosts tell: shrunk to the typical one, which counts
// as one GPU.
Seconds launch_overhead(std::vector<Efficiency> all, double Efficiency::*member) {
  Efficiency typical;
  typical.*member = kTypicalLaunch.value();
  all.push_back(typical);
  return Seconds(weighted_log_mean(all, member));
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

// What another precision brings relative to its peak, as GPUs calibrated in both show; where none
// was, in one whose numbers are as short.
double precision_efficiency(Precision from, Precision to, const ProfileSet& profiles) {
  for (const Precision alike : substitutes(to)) {
    if (arithmetic_bytes(alike) != arithmetic_bytes(to)) {
      continue;
    }
    std::vector<double> ratios;
    for (const auto& [name, profile] : profiles.gpus) {
      const auto sheet = profiles.sheets.find(name);
      const auto before = pass_curves(profile, from);
      const auto after = pass_curves(profile, alike);
      if (sheet != profiles.sheets.end() && before && after &&
          before->forward.flops_per_s.value() > 0 && after->forward.flops_per_s.value() > 0) {
        const double peaks = peak_flops(sheet->second, alike) / peak_flops(sheet->second, from);
        ratios.push_back(after->forward.flops_per_s / before->forward.flops_per_s / peaks);
      }
    }
    if (!ratios.empty()) {
      return median(ratios);
    }
  }
  return 1;
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

// This GPU's own curves in another precision. Where the hardware has no faster arithmetic for the
// wanted one (no tensor cores), both take as long.
std::unique_ptr<ComputeModel> other_precision_model(const GpuProfile& profile,
                                                    const GpuSheet& sheet,
                                                    const TrainingSpec& training,
                                                    const ProfileSet& profiles) {
  for (const Precision precision : substitutes(training.precision)) {
    auto passes = pass_curves(profile, precision);
    if (precision == training.precision || !passes) {
      continue;
    }
    Anchor anchor = anchor_of(profile, *passes, precision);
    const double peaks = peak_flops(sheet, training.precision) / peak_flops(sheet, precision);
    const bool same_arithmetic = std::abs(peaks - 1) < 0.05;
    const double faster =
        same_arithmetic ? 1 : peaks * precision_efficiency(precision, training.precision, profiles);
    for (OperatorCurve* curve : {&passes->forward, &passes->backward}) {
      curve->precision = training.precision;
      curve->flops_per_s = curve->flops_per_s * faster;
    }
    auto model = model_of_curves(training,
                                 *passes,
                                 std::move(anchor),
                                 optimizer_curve(profile, training.precision, profiles),
                                 sheet.memory_bandwidth,
                                 load_per_sample(profile.name, training.model, profiles));
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

std::unique_ptr<ComputeModel> sheet_model(const std::string& gpu,
                                          const GpuSheet& sheet,
                                          const TrainingSpec& training,
                                          const ProfileSet& profiles) {
  for (const Precision precision : substitutes(training.precision)) {
    const std::vector<Efficiency> all =
        efficiencies(gpu, sheet, precision, training.precision, profiles);
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
        .overhead = launch_overhead(all, &Efficiency::forward_launch_s)};
    passes.backward = passes.forward;
    passes.backward.kind = "backward";
    passes.backward.flops_per_s = peak * weighted_log_mean(all, &Efficiency::backward_flops);
    passes.backward.bytes_per_s =
        sheet.memory_bandwidth * weighted_log_mean(all, &Efficiency::backward_bytes);
    passes.backward.overhead = launch_overhead(all, &Efficiency::backward_launch_s);
    passes.backward.fused_attention =
        std::ranges::all_of(all, [](const Efficiency& one) { return one.fused_backward; });
    const OperatorCurve optimizer{
        .kind = "optimizer",
        .bytes_per_s =
            sheet.memory_bandwidth * weighted_log_mean(all, &Efficiency::optimizer_bytes)};
    auto model = model_of_curves(training,
                                 passes,
                                 {},
                                 optimizer,
                                 sheet.memory_bandwidth,
                                 load_per_sample(gpu, training.model, profiles));
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

}  // namespace vitsim
