// Rates of kernels from whole passes.
//
// A pass is the sum of its kernels beside its launches (calibrate/compute/operator_rates.h). Whole
// passes of several models, batches and precisions tell few rates apart: those of products, forward
// and backward, by arithmetic unit; attention, in 16 bits and in 32; one factor of all kinds that
// stream through the memory, whose ratios among one another are known; what a kernel takes to
// start; what the host takes to launch one, in forward and in backward. They are found by robust
// least squares on logarithms. Each has a prior relative to the data sheet, so that one measured
// model is enough to start from, and none leaves the sheet's peak. Where there is no data sheet the
// busiest pass stands for one: four fifths of its time arithmetic, one fifth bytes.
//
// Where the host rules, times wander by a quarter between visits of one machine: such a pass tells
// of launches, with that error, and next to nothing of the device. Robust costs have several
// minima, and a device may be far from its sheet (short of memory, throttled): hence two starts, of
// which the lower cost counts.
#include "calibrate/fit/rate_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

#include "calibrate/compute/compute_model.h"
#include "calibrate/compute/operator_curve.h"
#include "calibrate/fit/least_squares.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

constexpr double kDeviceSigma = 0.03;     // of a pass that the device rules
constexpr double kHostRuledSigma = 0.25;  // of one that the host rules
constexpr double kMostMemory = 1 / 0.95;  // of the bandwidth: the best kind reaches 0.95 of this
constexpr double kElementsPerByte = 400e9 / 3.35e12;
constexpr double kReferencePlain = 66.9e12;  // fp32 peak of the H100, whose tiles are the measure

// What rates are relative to.
struct Reference {
  std::array<double, 3> peak{};  // by ArithmeticUnit, flops/s
  double memory = 0;             // bytes/s
  double elements = 0;           // per second
  bool from_sheet = false;
};

// Faster than expected is less likely than slower: there is a peak above and none below.
struct RatePrior {
  double center;  // logarithm
  double below;   // standard deviations on either side
  double above;
};

// Unknowns, all logarithms.
enum Unknown : Eigen::Index {
  kMemory,
  kForwardFactor,
  kBackwardFactor,
  kKernelStart,
  kLaunchForward,
  kLaunchBackward,
  kAttentionShort,
  kAttentionWide,
  kUpdate,
  kUnitBegin
};

enum UnitUnknown : Eigen::Index { kForward, kBackwardRatio, kInner, kOutputs, kUnitUnknowns };

// An observation with everything that does not change during the fit.
struct Prepared {
  PassObservation seen;
  std::vector<Operator> forward;
  std::vector<Operator> backward;
  double update_bytes = 0;
  double log_seconds = 0;  // mean over visits
  double visits = 0;
};

std::vector<Prepared> prepare(const std::vector<PassObservation>& passes) {
  using PassKey =
      std::tuple<Observed, Architecture, Precision, std::int64_t, AttentionKernel, QkvSplit>;
  std::map<PassKey, Prepared> merged;
  for (const PassObservation& pass : passes) {
    Prepared& one = merged[{pass.what,
                            architecture(pass.model),
                            pass.precision,
                            pass.batch,
                            pass.attention,
                            pass.split}];
    if (one.visits == 0) {
      one.seen = pass;
      if (pass.what != Observed::kBackward) {
        one.forward =
            pass_operators(pass.model, pass.precision, Pass::kForward, pass.attention, pass.split);
      }
      if (pass.what != Observed::kForward) {
        one.backward =
            pass_operators(pass.model, pass.precision, Pass::kBackward, pass.attention, pass.split);
      }
      if (pass.what == Observed::kTrainStep) {
        one.update_bytes = update_bytes_per_parameter(pass.optimizer).value() *
                           static_cast<double>(parameter_count(pass.model));
      }
    }
    one.log_seconds += std::log(pass.seconds);
    one.visits += 1;
  }
  std::vector<Prepared> all;
  for (auto& [key, one] : merged) {
    one.log_seconds /= one.visits;
    all.push_back(std::move(one));
  }
  return all;
}

double flops_of(const PassObservation& pass) {
  const double passes = pass.what == Observed::kForward    ? 1
                        : pass.what == Observed::kBackward ? 2
                                                           : 3;
  return passes * static_cast<double>(pass.batch) * forward_flops(pass.model).value();
}

double bytes_of(const Prepared& one) {
  double bytes = one.update_bytes;
  for (const auto* operators : {&one.forward, &one.backward}) {
    for (const Operator& op : *operators) {
      bytes += static_cast<double>(op.count) *
               (static_cast<double>(one.seen.batch) * op.activation_bytes.value() +
                op.parameter_bytes.value());
    }
  }
  return bytes;
}

bool tells_peaks(const GpuSheet* sheet) {
  return sheet != nullptr && sheet->fp32.value() > 0 && sheet->memory_bandwidth.value() > 0;
}

Reference reference_of(const GpuSheet* sheet, const std::vector<Prepared>& all) {
  Reference reference;
  if (sheet != nullptr) {
    reference.peak = {
        sheet->fp32.value(),
        peak_flops(*sheet, Precision::kTf32).value(),
        std::max(peak_flops(*sheet, Precision::kFp16), peak_flops(*sheet, Precision::kBf16))
            .value()};
    reference.memory = sheet->memory_bandwidth.value();
    reference.elements = 400e9 * sheet_vector_rate(*sheet) / kReferencePlain;
    reference.from_sheet = true;
    return reference;
  }
  double best = 0;
  for (const Prepared& one : all) {
    const double seconds = std::exp(one.log_seconds);
    const double rate = flops_of(one.seen) / seconds;
    if (rate > best) {
      best = rate;
      reference.memory = bytes_of(one) / (0.2 * seconds);
    }
  }
  reference.peak.fill(1.5 * best);
  reference.elements = kElementsPerByte * reference.memory;
  return reference;
}

class RateProblem {
 public:
  RateProblem(const std::vector<PassObservation>& passes, const GpuSheet* sheet)
      : sheet_(tells_peaks(sheet) ? sheet : nullptr),
        all_(prepare(passes)),
        reference_(reference_of(sheet_, all_)) {
    for (const Prepared& one : all_) {
      units_.insert(unit_of(one.seen.precision));
    }
    set_priors();
  }

  [[nodiscard]] FittedRates solve() const;

 private:
  [[nodiscard]] ArithmeticUnit unit_of(Precision precision) const {
    if (sheet_ != nullptr) {
      return arithmetic_unit(*sheet_, precision);
    }
    return precision == Precision::kFp32   ? ArithmeticUnit::kPlain
           : precision == Precision::kTf32 ? ArithmeticUnit::kTf32
                                           : ArithmeticUnit::kShort;
  }

  [[nodiscard]] Eigen::Index unit_begin(ArithmeticUnit unit) const {
    return kUnitBegin + kUnitUnknowns * std::distance(units_.begin(), units_.find(unit));
  }

  void set_priors();
  [[nodiscard]] FittedRates rates_at(const Eigen::VectorXd& x) const;
  [[nodiscard]] FittedRates::Predicted predict(const FittedRates& fitted,
                                               const Prepared& one) const;

  const GpuSheet* sheet_;
  std::vector<Prepared> all_;
  Reference reference_;
  std::set<ArithmeticUnit> units_;
  std::vector<RatePrior> priors_;
};

void RateProblem::set_priors() {
  const auto log = [](double value, double sigma) {
    return RatePrior{std::log(value), sigma, sigma};
  };
  const bool sheet = reference_.from_sheet;
  const RatePrior launch = sheet ? log(kTypicalLaunch.value(), 0.8) : log(5e-6, 1);
  priors_ = {log(1, sheet ? 0.05 : 0.5),  // kMemory
             log(1, 0.06),                // kForwardFactor
             log(1, 0.06),                // kBackwardFactor
             log(2e-6, 0.4),              // kKernelStart
             launch,                      // kLaunchForward
             launch,                      // kLaunchBackward
             log(0.48, 0.4),              // kAttentionShort
             log(0.45, 0.5),              // kAttentionWide
             log(0.8, 0.4)};              // kUpdate
  // Tiles that fill a smaller GPU are fewer; a CPU has next to none.
  const double outputs = sheet ? 1e6 * reference_.peak[0] / kReferencePlain : 1e4;
  for (std::size_t i = 0; i < units_.size(); ++i) {
    priors_.push_back({std::log(0.8), sheet ? 0.6 : 1, sheet ? 0.15 : 1});  // kForward
    priors_.push_back(log(1, 0.15));                                        // kBackwardRatio
    priors_.push_back(log(90, 0.8));                                        // kInner
    priors_.push_back(log(outputs, 0.7));                                   // kOutputs
  }
}

FittedRates RateProblem::rates_at(const Eigen::VectorXd& x) const {
  // Nothing is faster than the sheet says; where there is none, nothing is known to be too fast.
  const double most = reference_.from_sheet ? 0 : std::log(1e4);
  const auto share = [&](double logarithm) { return std::exp(std::min(logarithm, most)); };
  const double most_memory = reference_.from_sheet ? std::log(kMostMemory) : most;
  FittedRates fitted;
  fitted.host = {.forward = Seconds(std::exp(x[kLaunchForward])),
                 .backward = Seconds(std::exp(x[kLaunchBackward])),
                 .sigma = {}};
  fitted.update = BytesPerSecond(share(x[kUpdate]) * reference_.memory);
  std::set<Precision> precisions;
  for (const Prepared& one : all_) {
    precisions.insert(one.seen.precision);
  }
  for (const Precision precision : precisions) {
    const ArithmeticUnit unit = unit_of(precision);
    const Eigen::Index begin = unit_begin(unit);
    const double peak = reference_.peak[static_cast<std::size_t>(unit)];
    const bool wide = arithmetic_bytes(precision) == Bytes(4) || unit == ArithmeticUnit::kPlain;
    // Attention in 32 bits leaves the tensor cores alone.
    const double attention =
        wide ? share(x[kAttentionWide]) * reference_.peak[0] : share(x[kAttentionShort]) * peak;
    fitted.rates.push_back(
        {.precision = precision,
         .gemm_forward = FlopsPerSecond(share(x[begin + kForward]) * peak),
         .gemm_backward =
             FlopsPerSecond(share(x[begin + kForward] + x[begin + kBackwardRatio]) * peak),
         .gemm_inner = std::exp(x[begin + kInner]),
         .gemm_outputs = std::exp(x[begin + kOutputs]),
         .attention = FlopsPerSecond(attention),
         .convolution = FlopsPerSecond(convolution_share(unit) * share(x[begin + kForward]) * peak),
         .memory = BytesPerSecond(std::exp(std::min(x[kMemory], most_memory)) * reference_.memory),
         .elements = reference_.elements,
         .kernel_start = Seconds(std::exp(x[kKernelStart])),
         .forward_factor = std::exp(x[kForwardFactor]),
         .backward_factor = std::exp(x[kBackwardFactor]),
         .error = {}});
  }
  return fitted;
}

FittedRates::Predicted RateProblem::predict(const FittedRates& fitted, const Prepared& one) const {
  const OperatorRates& rates = *fitted.find(one.seen.precision);
  FittedRates::Predicted predicted;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const auto& operators = pass == Pass::kForward ? one.forward : one.backward;
    if (operators.empty()) {
      continue;
    }
    const PassTime time = pass_time(rates, fitted.host, operators, pass, one.seen.batch);
    predicted.seconds += time.total().value();
    predicted.host_share += time.total().value() * time.host_share();
  }
  predicted.host_share /= predicted.seconds;
  predicted.seconds += one.update_bytes / fitted.update.value();
  return predicted;
}

FittedRates RateProblem::solve() const {
  const auto unknowns = static_cast<Eigen::Index>(priors_.size());
  const auto count = static_cast<Eigen::Index>(all_.size());
  const auto evaluate = [&](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    const FittedRates fitted = rates_at(x);
    for (Eigen::Index i = 0; i < count; ++i) {
      const Prepared& one = all_[static_cast<std::size_t>(i)];
      const auto predicted = predict(fitted, one);
      const double sigma =
          std::hypot(kDeviceSigma, kHostRuledSigma * predicted.host_share) / std::sqrt(one.visits);
      residuals[i] = (std::log(predicted.seconds) - one.log_seconds) / sigma;
    }
    for (Eigen::Index j = 0; j < unknowns; ++j) {
      const RatePrior& prior = priors_[static_cast<std::size_t>(j)];
      const double off = x[j] - prior.center;
      residuals[count + j] = off / (off < 0 ? prior.below : prior.above);
    }
  };
  Eigen::VectorXd start(unknowns);
  for (Eigen::Index j = 0; j < unknowns; ++j) {
    start[j] = priors_[static_cast<std::size_t>(j)].center;
  }
  std::optional<LeastSquaresResult> best;
  for (const bool scaled : {false, true}) {
    if (scaled) {
      // All arithmetic as much slower as the typical pass is.
      const FittedRates fitted = rates_at(start);
      std::vector<double> ratios;
      for (const Prepared& one : all_) {
        ratios.push_back(std::log(predict(fitted, one).seconds) - one.log_seconds);
      }
      const double ratio = median(ratios);
      if (std::abs(ratio) < 0.5) {
        break;
      }
      for (Eigen::Index j = kUnitBegin; j < unknowns; j += kUnitUnknowns) {
        start[j + kForward] += ratio;
      }
      start[kAttentionShort] += ratio;
      start[kAttentionWide] += ratio;
    }
    auto solved = robust_least_squares(evaluate, start, count + unknowns, count);
    if (!best || solved.cost < best->cost) {
      best = std::move(solved);
    }
  }
  FittedRates fitted = rates_at(best->x);
  for (const Prepared& one : all_) {
    fitted.shows_launches |= predict(fitted, one).host_share > 0.5;
  }
  return fitted;
}

}  // namespace

const OperatorRates* FittedRates::find(Precision precision) const {
  const auto found = std::ranges::find(rates, precision, &OperatorRates::precision);
  return found == rates.end() ? nullptr : &*found;
}

FittedRates::Predicted FittedRates::predict(const PassObservation& seen) const {
  Predicted predicted;
  const OperatorRates* own = find(seen.precision);
  if (own == nullptr) {
    return predicted;
  }
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    if (seen.what == (pass == Pass::kForward ? Observed::kBackward : Observed::kForward)) {
      continue;
    }
    const PassTime time =
        pass_time(*own,
                  host,
                  pass_operators(seen.model, seen.precision, pass, seen.attention, seen.split),
                  pass,
                  seen.batch);
    predicted.seconds += time.total().value();
    predicted.host_share += time.total().value() * time.host_share();
  }
  predicted.host_share /= predicted.seconds;
  if (seen.what == Observed::kTrainStep) {
    predicted.seconds += update_bytes_per_parameter(seen.optimizer).value() *
                         static_cast<double>(parameter_count(seen.model)) / update.value();
  }
  return predicted;
}

FittedRates fit_passes(const std::vector<PassObservation>& passes, const GpuSheet* sheet) {
  return RateProblem(passes, sheet).solve();
}

namespace {

// Updates that were timed by themselves, in bytes per second.
std::map<Precision, std::vector<double>> update_rates(const GpuProfile& profile) {
  std::map<Precision, std::vector<double>> rates;
  for (const StepCurve& curve : profile.steps) {
    std::vector<double> updates;
    for (const StepPoint& point : curve.points) {
      if (point.optimizer > Seconds(0)) {
        updates.push_back(point.optimizer.value());
      }
    }
    // An update does not depend on the batch: one entry, however many points.
    if (!updates.empty()) {
      rates[curve.precision].push_back(update_bytes_per_parameter(curve.optimizer).value() *
                                       static_cast<double>(parameter_count(curve.model)) /
                                       median(updates));
    }
  }
  return rates;
}

void add_updates(const FittedRates& fitted,
                 const std::vector<PassObservation>& passes,
                 GpuProfile& profile) {
  const auto timed = update_rates(profile);
  for (const auto& [precision, rates] : timed) {
    profile.operators.push_back({.kind = "optimizer",
                                 .precision = precision,
                                 .bytes_per_s = BytesPerSecond(median(rates))});
  }
  for (const OperatorRates& rates : fitted.rates) {
    const bool in_steps = std::ranges::any_of(passes, [&](const PassObservation& pass) {
      return pass.what == Observed::kTrainStep && pass.precision == rates.precision;
    });
    if (in_steps && !timed.contains(rates.precision)) {
      profile.operators.push_back(
          {.kind = "optimizer", .precision = rates.precision, .bytes_per_s = fitted.update});
    }
  }
}

std::optional<double> mean_error(const std::vector<LeftOutModel>& errors,
                                 const std::string& gpu,
                                 std::optional<Precision> precision) {
  double sum = 0;
  int count = 0;
  for (const LeftOutModel& one : errors) {
    if (one.gpu == gpu && (!precision || one.precision == *precision) && one.host_share < 0.5) {
      sum += std::abs(std::expm1(one.log_error));
      ++count;
    }
  }
  return count == 0 ? std::nullopt : std::optional(sum / count);
}

// Scatter of passes that the host rules, around what its launches give.
std::optional<double> host_sigma(const FittedRates& fitted,
                                 const std::vector<PassObservation>& passes) {
  double squares = 0;
  int count = 0;
  for (const PassObservation& pass : passes) {
    const auto predicted = fitted.predict(pass);
    if (predicted.host_share > 0.5) {
      squares += std::pow(std::log(pass.seconds / predicted.seconds), 2);
      ++count;
    }
  }
  return count < 4 ? std::nullopt : std::optional(std::sqrt(squares / count));
}

}  // namespace

void fit_rates(const Measurement& measurement,
               const FitOptions& options,
               Calibration& calibration) {
  auto by_gpu = measured_passes(measurement);
  for (const Sample& sample : measurement.samples) {
    const auto* pass = sample.as<PassSeries>();
    if (pass != nullptr && by_gpu.contains(pass->gpu)) {
      auto& sources = calibration.gpus[pass->gpu].provenance.sources;
      if (std::ranges::count(sources, "throughput samples") == 0) {
        sources.emplace_back("throughput samples");
      }
    }
  }
  for (const auto& [gpu, profile] : calibration.gpus) {
    if (!by_gpu.contains(gpu)) {
      by_gpu[gpu] = fitted_passes(profile);
    }
  }
  const std::vector<LeftOutModel> errors = options.with_model_errors
                                               ? leave_models_out(measurement, options)
                                               : std::vector<LeftOutModel>();
  for (auto& [gpu, profile] : calibration.gpus) {
    const std::vector<PassObservation>& passes = by_gpu[gpu];
    if (passes.empty()) {
      continue;
    }
    FittedRates fitted = fit_passes(passes, options.sheet(gpu));
    for (OperatorRates& rates : fitted.rates) {
      rates.error = mean_error(errors, gpu, rates.precision);
      const bool unbinds = std::ranges::any_of(passes, [&](const PassObservation& pass) {
        return pass.of_run && pass.precision == rates.precision && pass.split == QkvSplit::kUnbind;
      });
      rates.qkv_split = unbinds ? QkvSplit::kUnbind : QkvSplit::kSelect;
    }
    if (fitted.shows_launches) {
      fitted.host.sigma = host_sigma(fitted, passes);
      profile.host = fitted.host;
    }
    profile.rates = fitted.rates;
    add_updates(fitted, passes, profile);
  }
}

std::set<std::string> runs_ruled_by_host(const std::vector<RunSummary>& summaries,
                                         const Calibration& calibration) {
  std::set<std::string> ruled;
  for (const RunSummary& summary : summaries) {
    const RecordedRun& run = *summary.run;
    const auto profile = calibration.gpus.find(run.gpus.front());
    if (run.gpus.size() != 1 || summary.ranks.empty() || profile == calibration.gpus.end() ||
        !profile->second.host) {
      continue;
    }
    const FittedRates fitted{.rates = profile->second.rates,
                             .host = *profile->second.host,
                             .update = {},
                             .shows_launches = true};
    double share = 0;
    for (const Observed what : {Observed::kForward, Observed::kBackward}) {
      share += fitted
                   .predict({.what = what,
                             .model = run.model,
                             .precision = run.precision,
                             .batch = summary.micro_batch(0),
                             .split = run.qkv_split})
                   .host_share /
               2;
    }
    if (share > 0.25) {
      ruled.insert(run.name);
    }
  }
  return ruled;
}

std::vector<LeftOutModel> leave_models_out(const Measurement& measurement,
                                           const FitOptions& options) {
  std::vector<LeftOutModel> errors;
  for (const auto& [gpu, passes] : measured_passes(measurement)) {
    std::set<Architecture> models;
    for (const PassObservation& pass : passes) {
      models.insert(architecture(pass.model));
    }
    for (const Architecture& left_out : models) {
      std::vector<PassObservation> rest;
      std::ranges::copy_if(passes, std::back_inserter(rest), [&](const PassObservation& pass) {
        return architecture(pass.model) != left_out;
      });
      if (rest.empty()) {
        continue;
      }
      const FittedRates fitted = fit_passes(rest, options.sheet(gpu));

      // Forward and backward of one step are judged together, over all visits.
      struct Step {
        LeftOutModel error;
        double measured[2] = {0, 0};
        double visits[2] = {0, 0};
        double predicted[2] = {0, 0};
        double host = 0;
      };

      std::map<std::pair<Precision, std::int64_t>, Step> steps;
      for (const PassObservation& pass : passes) {
        if (architecture(pass.model) != left_out || fitted.find(pass.precision) == nullptr) {
          continue;
        }
        const auto predicted = fitted.predict(pass);
        LeftOutModel error{.gpu = gpu,
                           .what = pass.what == Observed::kForward ? "forward_pass" : "train_step",
                           .model = pass.model.name,
                           .batch = pass.batch,
                           .log_error = std::log(predicted.seconds / pass.seconds),
                           .precision = pass.precision,
                           .host_share = predicted.host_share};
        if (!pass.of_run) {
          errors.push_back(std::move(error));
          continue;
        }
        error.what = "forward + backward";
        Step& step = steps[{pass.precision, pass.batch}];
        const std::size_t which = pass.what == Observed::kForward ? 0 : 1;
        step.error = std::move(error);
        step.measured[which] += pass.seconds;
        step.visits[which] += 1;
        step.predicted[which] = predicted.seconds;
        step.host += predicted.host_share;
      }
      for (auto& [key, step] : steps) {
        if (step.visits[0] == 0 || step.visits[1] == 0) {
          continue;
        }
        const double measured =
            step.measured[0] / step.visits[0] + step.measured[1] / step.visits[1];
        step.error.log_error = std::log((step.predicted[0] + step.predicted[1]) / measured);
        step.error.host_share = step.host / (step.visits[0] + step.visits[1]);
        errors.push_back(step.error);
      }
    }
  }
  return errors;
}

}  // namespace vitsim
