// Throughput curves for model sizes, resolutions and batches that nobody measured.
//
// A pass over a batch of b images takes, over the operators of the cost graph,
//
//   max(launches * overhead, b * flops / F + (b * activation bytes + parameter bytes) / B)
//
// since the host launches ahead while the device computes: small batches last as long as their
// launches, whatever the arithmetic. Backward is two such passes, with constants of its own; the
// optimizer moves bytes alone. F, B and the overhead are found by robust least squares on
// logarithms. B has a prior, 0.6 of the data sheet's memory bandwidth within a factor of 1.6, so
// that one measured model is enough to start from; F is free. The overhead has a wide prior at 5
// us, where it stays unless some pass shows it. Robust costs have several minima: from a start that
// takes launches for arithmetic, the passes that show arithmetic are outliers and stay so. Hence
// several starts, of which the lowest cost counts. Neglected: wave quantisation and cache effects,
// which is what the left-out error shows.
#include "calibrate/fit/throughput_fit.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "calibrate/compute/operator_curve.h"
#include "calibrate/fit/least_squares.h"
#include "calibrate/fit/run_summary.h"
#include "models/distribution.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

constexpr double kSigma = 0.05;
constexpr double kBandwidthShare = 0.6;
constexpr double kBandwidthLogSigma = 0.5;
constexpr double kLaunchLogSigma = 1;
// Beyond any device: where arithmetic does not show in the times, nothing holds F.
constexpr double kMostFlops_per_s = 1e18;

// deit_* and vit_* of one size are the same computation.
std::string model_identity(const VitSpec& model) {
  return std::to_string(model.layers) + "x" + std::to_string(model.width) + "x" +
         std::to_string(model.mlp) + "/" + std::to_string(model.patch) + "@" +
         std::to_string(model.image_size);
}

struct TrainObservation {
  PassObservation pass;
  OptimizerKind optimizer = OptimizerKind::kSgd;
};

struct Observations {
  std::map<Precision, std::vector<PassObservation>> forward;
  std::map<Precision, std::vector<PassObservation>> backward;
  std::map<Precision, std::vector<TrainObservation>> train;
  std::map<Precision, std::vector<double>> update_rates;  // bytes per second of a StepCurve
};

std::optional<PassObservation> pass_of(const Sample& sample) {
  const auto* pass = sample.as<PassSeries>();
  if (pass == nullptr || pass->seconds.empty()) {
    return std::nullopt;
  }
  VitSpec model = pass->model;
  model.name = model.name.empty() ? "custom" : model.name;
  model.classes = pass->classes.value_or(1000);
  return PassObservation{
      .model = model,
      .precision = pass->precision,
      .batch = pass->batch,
      .seconds = median(sample.settled()),
      // Attention became one kernel with torch 2.
      .fused_attention = !pass->torch.starts_with("1."),
  };
}

std::map<std::string, Observations> throughput_samples(const Measurement& measurement,
                                                       const std::string& without_model = {}) {
  std::map<std::string, Observations> by_gpu;
  for (const Sample& sample : measurement.samples) {
    const auto pass = pass_of(sample);
    if (!pass || model_identity(pass->model) == without_model) {
      continue;
    }
    const auto& series = *sample.as<PassSeries>();
    if (series.kind == PassSeries::Kind::kForward) {
      by_gpu[series.gpu].forward[pass->precision].push_back(*pass);
      continue;
    }
    const bool sgd = series.optimizer.empty() || series.optimizer == "sgd";
    by_gpu[series.gpu].train[pass->precision].push_back(
        {*pass, sgd ? OptimizerKind::kSgd : OptimizerKind::kAdamW});
  }
  return by_gpu;
}

// Steps that one device made alone, as `calibrate measure` records them, tell of its passes too.
void add_measured_passes(const Measurement& measurement,
                         const std::string& without_model,
                         std::map<std::string, Observations>& by_gpu) {
  for (const RunSummary& summary : summarise(measurement)) {
    const RecordedRun& run = *summary.run;
    if (run.gpus.size() != 1 || summary.ranks.empty() || summary.ranks.front().unit.empty() ||
        model_identity(run.model) == without_model) {
      continue;
    }
    const PhaseTimes& times = summary.ranks.front().full;
    const auto pass = [&](double seconds) {
      return PassObservation{.model = run.model,
                             .precision = run.precision,
                             .batch = summary.micro_batch(0),
                             .seconds = seconds};
    };
    Observations& seen = by_gpu[run.gpus.front()];
    seen.forward[run.precision].push_back(pass(times.forward_s));
    seen.backward[run.precision].push_back(pass(times.backward_s));
  }
}

double prior_bandwidth(const FitOptions& options, const std::string& gpu) {
  const auto sheet = options.sheets.find(gpu);
  return sheet == options.sheets.end() ? 0
                                       : kBandwidthShare * sheet->second.memory_bandwidth.value();
}

FlopsPerSecond arithmetic_speed(double logarithm) {
  return FlopsPerSecond(std::exp(std::min(logarithm, std::log(kMostFlops_per_s))));
}

// Where a fit may start: one pass taken for all arithmetic, and launches hidden behind the work or
// all that the shortest pass shows.
struct PassStart {
  double log_flops_per_s = 0;
  double log_overhead = 0;
};

PassWork work_of(const PassObservation& seen) {
  return pass_work(seen.model, seen.precision, seen.fused_attention, seen.batch);
}

// `passes` counts forward passes' work in each observation.
std::vector<PassStart> pass_starts(const std::vector<PassObservation>& observations,
                                   double passes) {
  std::vector<double> rates;
  double most_overhead = std::numeric_limits<double>::infinity();
  for (const PassObservation& seen : observations) {
    const PassWork work = work_of(seen);
    rates.push_back(passes * work.flops / seen.seconds);
    most_overhead = std::min(most_overhead, seen.seconds / (passes * work.launches));
  }
  std::vector<PassStart> starts;
  for (const double rate : {rates.front(), rates.back(), std::ranges::max(rates)}) {
    for (const double overhead : {kTypicalLaunch.value(), most_overhead}) {
      starts.push_back({std::log(1.25 * rate), std::log(overhead)});
    }
  }
  return starts;
}

// Without a data sheet bytes are taken to cost a fifth of the busiest pass.
double assumed_bandwidth(const std::vector<PassObservation>& observations, double passes) {
  const PassObservation& busiest =
      *std::ranges::max_element(observations, {}, [](const PassObservation& seen) {
        return work_of(seen).flops / seen.seconds;
      });
  return passes * work_of(busiest).bytes / (0.2 * busiest.seconds);
}

void set_rates(OperatorCurve& curve, double log_flops, double log_bytes, double log_overhead) {
  curve.flops_per_s = arithmetic_speed(log_flops);
  curve.bytes_per_s = BytesPerSecond(std::exp(log_bytes));
  curve.overhead = Seconds(std::exp(log_overhead));
}

// Unknowns are the logarithms of F, B and the overhead, and of the optimizer's rate where there is
// a fourth. Each but F has a prior, a residual after those of the observations.
Eigen::VectorXd best_fit(
    const std::function<void(const Eigen::VectorXd&, Eigen::VectorXd&)>& evaluate,
    const std::vector<PassStart>& starts,
    double bandwidth,
    Eigen::Index unknowns,
    Eigen::Index count) {
  std::optional<LeastSquaresResult> best;
  for (const PassStart& start : starts) {
    Eigen::VectorXd x = Eigen::VectorXd::Constant(unknowns, std::log(bandwidth));
    x[0] = start.log_flops_per_s;
    x[2] = start.log_overhead;
    auto solved = robust_least_squares(evaluate, x, count + unknowns - 1, count);
    if (!best || solved.cost < best->cost) {
      best = std::move(solved);
    }
  }
  return best->x;
}

OperatorCurve fit_pass(const std::string& kind,
                       const std::vector<PassObservation>& observations,
                       double passes,
                       double bandwidth) {
  const PassObservation& first = observations.front();
  OperatorCurve curve{
      .kind = kind, .precision = first.precision, .fused_attention = first.fused_attention};
  if (bandwidth <= 0) {
    bandwidth = assumed_bandwidth(observations, passes);
  }
  const auto count = static_cast<Eigen::Index>(observations.size());
  const auto evaluate = [&](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    OperatorCurve trial = curve;
    set_rates(trial, x[0], x[1], x[2]);
    for (Eigen::Index i = 0; i < count; ++i) {
      const PassObservation& seen = observations[static_cast<std::size_t>(i)];
      trial.fused_attention = seen.fused_attention;
      residuals[i] =
          std::log(pass_seconds(trial, seen.model, seen.batch, passes) / seen.seconds) / kSigma;
    }
    residuals[count] = (x[1] - std::log(bandwidth)) / kBandwidthLogSigma;
    residuals[count + 1] = (x[2] - std::log(kTypicalLaunch.value())) / kLaunchLogSigma;
  };
  const Eigen::VectorXd x =
      best_fit(evaluate, pass_starts(observations, passes), bandwidth, 3, count);
  set_rates(curve, x[0], x[1], x[2]);
  return curve;
}

// Backward and optimizer from whole training steps, the forward pass given.
std::pair<OperatorCurve, OperatorCurve> fit_train(const std::vector<TrainObservation>& observations,
                                                  const std::optional<OperatorCurve>& forward,
                                                  double bandwidth) {
  std::vector<PassObservation> steps;
  steps.reserve(observations.size());
  for (const TrainObservation& observation : observations) {
    steps.push_back(observation.pass);
  }
  const PassObservation& first = steps.front();
  OperatorCurve backward{
      .kind = "backward", .precision = first.precision, .fused_attention = first.fused_attention};
  OperatorCurve optimizer{.kind = "optimizer", .precision = first.precision};
  if (bandwidth <= 0) {
    bandwidth = assumed_bandwidth(steps, 3);
  }
  const auto count = static_cast<Eigen::Index>(observations.size());
  const auto set = [&](const Eigen::VectorXd& x) {
    set_rates(backward, x[0], x[1], x[2]);
    optimizer.bytes_per_s = BytesPerSecond(std::exp(x[3]));
  };
  const auto evaluate = [&](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    set(x);
    for (Eigen::Index i = 0; i < count; ++i) {
      const auto& [seen, kind] = observations[static_cast<std::size_t>(i)];
      const double passes = (forward ? pass_seconds(*forward, seen.model, seen.batch, 1) +
                                           pass_seconds(backward, seen.model, seen.batch, 2)
                                     : pass_seconds(backward, seen.model, seen.batch, 3)) +
                            optimizer_seconds(optimizer, seen.model, kind);
      residuals[i] = std::log(passes / seen.seconds) / kSigma;
    }
    residuals[count] = (x[1] - std::log(bandwidth)) / kBandwidthLogSigma;
    residuals[count + 1] = (x[2] - std::log(kTypicalLaunch.value())) / kLaunchLogSigma;
    residuals[count + 2] = (x[3] - std::log(bandwidth)) / kBandwidthLogSigma;
  };
  set(best_fit(evaluate, pass_starts(steps, 3), bandwidth, 4, count));
  return {backward, optimizer};
}

std::vector<OperatorCurve> fit_curves(const Observations& seen, double bandwidth) {
  std::vector<OperatorCurve> curves;
  std::map<Precision, OperatorCurve> forward_curves;
  for (const auto& [precision, passes] : seen.forward) {
    forward_curves[precision] = fit_pass("forward", passes, 1, bandwidth);
    curves.push_back(forward_curves[precision]);
  }
  for (const auto& [precision, passes] : seen.backward) {
    curves.push_back(fit_pass("backward", passes, 2, bandwidth));
  }
  for (const auto& [precision, steps] : seen.train) {
    const auto forward = forward_curves.find(precision);
    const auto [backward, optimizer] =
        fit_train(steps,
                  forward == forward_curves.end() ? std::nullopt : std::optional(forward->second),
                  bandwidth);
    if (forward == forward_curves.end()) {
      OperatorCurve alone = backward;
      alone.kind = "forward";
      curves.push_back(alone);
    }
    curves.push_back(backward);
    // Updates that were timed by themselves tell more than the rest of a whole step.
    if (!seen.update_rates.contains(precision)) {
      curves.push_back(optimizer);
    }
  }
  for (const auto& [precision, rates] : seen.update_rates) {
    curves.push_back({.kind = "optimizer",
                      .precision = precision,
                      .bytes_per_s = BytesPerSecond(median(rates))});
  }
  return curves;
}

const OperatorCurve* find(const std::vector<OperatorCurve>& curves,
                          const std::string& kind,
                          Precision precision) {
  const auto found = std::ranges::find_if(curves, [&](const OperatorCurve& curve) {
    return curve.kind == kind && curve.precision == precision;
  });
  return found == curves.end() ? nullptr : &*found;
}

// Steps that the joint fit has already told apart are observations too.
void add_fitted_steps(const GpuProfile& profile, Observations& seen) {
  for (const StepCurve& curve : profile.steps) {
    std::vector<double> updates;
    for (const StepPoint& point : curve.points) {
      const auto pass = [&](Seconds time) {
        return PassObservation{.model = curve.model,
                               .precision = curve.precision,
                               .batch = point.micro_batch,
                               .seconds = time.value()};
      };
      if (point.forward.value() > 0) {
        seen.forward[curve.precision].push_back(pass(point.forward));
      }
      if (point.backward.value() > 0) {
        seen.backward[curve.precision].push_back(pass(point.backward));
      }
      if (point.optimizer.value() > 0) {
        updates.push_back(point.optimizer.value());
      }
    }
    // An update does not depend on the batch: one entry, however many points.
    if (!updates.empty()) {
      seen.update_rates[curve.precision].push_back(
          update_bytes_per_parameter(curve.optimizer).value() *
          static_cast<double>(parameter_count(curve.model)) / median(updates));
    }
  }
}

// A GPU seen in inference alone takes backward's ratio to forward from those seen in both.
void borrow_backward(Calibration& calibration) {
  std::map<Precision, std::vector<double>> flops_ratios;
  std::map<Precision, std::vector<double>> bytes_ratios;
  std::map<Precision, bool> fused;
  for (const auto& [name, profile] : calibration.gpus) {
    for (const OperatorCurve& backward : profile.operators) {
      const OperatorCurve* forward = find(profile.operators, "forward", backward.precision);
      if (backward.kind == "backward" && forward != nullptr) {
        flops_ratios[backward.precision].push_back(backward.flops_per_s / forward->flops_per_s);
        bytes_ratios[backward.precision].push_back(backward.bytes_per_s / forward->bytes_per_s);
        fused[backward.precision] = backward.fused_attention;
      }
    }
  }
  for (auto& [name, profile] : calibration.gpus) {
    std::vector<OperatorCurve> borrowed;
    for (const OperatorCurve& forward : profile.operators) {
      if (forward.kind != "forward" || !flops_ratios.contains(forward.precision) ||
          find(profile.operators, "backward", forward.precision) != nullptr) {
        continue;
      }
      OperatorCurve backward = forward;
      backward.kind = "backward";
      backward.flops_per_s = forward.flops_per_s * median(flops_ratios[forward.precision]);
      backward.bytes_per_s = forward.bytes_per_s * median(bytes_ratios[forward.precision]);
      backward.fused_attention = fused[forward.precision];
      borrowed.push_back(backward);
      borrowed.push_back({.kind = "optimizer",
                          .precision = forward.precision,
                          .bytes_per_s = backward.bytes_per_s});
    }
    profile.operators.insert(profile.operators.end(), borrowed.begin(), borrowed.end());
  }
}

}  // namespace

void fit_throughput(const Measurement& measurement,
                    const FitOptions& options,
                    Calibration& calibration) {
  std::map<std::string, Observations> by_gpu = throughput_samples(measurement);
  for (const auto& [gpu, seen] : by_gpu) {
    calibration.gpus[gpu].provenance.sources.emplace_back("throughput samples");
  }
  for (const auto& [gpu, profile] : calibration.gpus) {
    add_fitted_steps(profile, by_gpu[gpu]);
  }
  for (const auto& [gpu, seen] : by_gpu) {
    calibration.gpus[gpu].operators = fit_curves(seen, prior_bandwidth(options, gpu));
  }
  borrow_backward(calibration);

  std::map<std::pair<std::string, std::string>, std::vector<double>> errors;
  for (const LeftOutModel& left_out : leave_models_out(measurement, options)) {
    const std::string kind = left_out.what == "forward_pass" ? "forward" : "backward";
    errors[{left_out.gpu, kind}].push_back(std::abs(std::expm1(left_out.log_error)));
  }
  for (auto& [gpu, profile] : calibration.gpus) {
    for (OperatorCurve& curve : profile.operators) {
      if (const auto own = errors.find({gpu, curve.kind}); own != errors.end()) {
        double sum = 0;
        for (const double error : own->second) {
          sum += error;
        }
        curve.error = sum / static_cast<double>(own->second.size());
      }
    }
  }
}

std::vector<LeftOutModel> leave_models_out(const Measurement& measurement,
                                           const FitOptions& options) {
  std::vector<LeftOutModel> errors;
  std::set<std::string> identities;
  auto everything = throughput_samples(measurement);
  add_measured_passes(measurement, {}, everything);
  for (const auto& [gpu, seen] : everything) {
    for (const auto& [precision, passes] : seen.forward) {
      for (const PassObservation& pass : passes) {
        identities.insert(model_identity(pass.model));
      }
    }
    for (const auto& [precision, steps] : seen.train) {
      for (const TrainObservation& step : steps) {
        identities.insert(model_identity(step.pass.model));
      }
    }
  }
  for (const std::string& identity : identities) {
    auto rest = throughput_samples(measurement, identity);
    add_measured_passes(measurement, identity, rest);
    for (const auto& [gpu, seen] : everything) {
      const auto others = rest.find(gpu);
      if (others == rest.end()) {
        continue;
      }
      const auto curves = fit_curves(others->second, prior_bandwidth(options, gpu));
      const auto report = [&, gpu = gpu](
                              const char* what, const PassObservation& pass, double seconds) {
        errors.push_back({.gpu = gpu,
                          .what = what,
                          .model = pass.model.name,
                          .batch = pass.batch,
                          .log_error = std::log(seconds / pass.seconds)});
      };
      for (const auto& [precision, passes] : seen.forward) {
        const OperatorCurve* forward = find(curves, "forward", precision);
        for (const PassObservation& pass : passes) {
          if (model_identity(pass.model) == identity && forward != nullptr) {
            report("forward_pass", pass, pass_seconds(*forward, pass.model, pass.batch, 1));
          }
        }
      }
      for (const auto& [precision, passes] : seen.backward) {
        const OperatorCurve* backward = find(curves, "backward", precision);
        for (const PassObservation& pass : passes) {
          if (model_identity(pass.model) == identity && backward != nullptr) {
            report("backward_pass", pass, pass_seconds(*backward, pass.model, pass.batch, 2));
          }
        }
      }
      for (const auto& [precision, steps] : seen.train) {
        const OperatorCurve* forward = find(curves, "forward", precision);
        const OperatorCurve* backward = find(curves, "backward", precision);
        const OperatorCurve* optimizer = find(curves, "optimizer", precision);
        for (const auto& [pass, kind] : steps) {
          if (model_identity(pass.model) == identity && forward != nullptr && backward != nullptr &&
              optimizer != nullptr) {
            report("train_step",
                   pass,
                   pass_seconds(*forward, pass.model, pass.batch, 1) +
                       pass_seconds(*backward, pass.model, pass.batch, 2) +
                       optimizer_seconds(*optimizer, pass.model, kind));
          }
        }
      }
    }
  }
  return errors;
}

}  // namespace vitsim
