#include "calibrate/fit/pass_observations.h"

#include <algorithm>
#include <optional>

#include "calibrate/fit/run_summary.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

std::optional<PassObservation> throughput_sample(const Sample& sample) {
  const auto* pass = sample.as<PassSeries>();
  if (pass == nullptr || pass->seconds.empty()) {
    return std::nullopt;
  }
  VitSpec model = pass->model;
  model.name = model.name.empty() ? "custom" : model.name;
  model.classes = pass->classes.value_or(1000);
  // Attention became one kernel with torch 2.
  const bool fused = !pass->torch.starts_with("1.");
  const bool sgd = pass->optimizer.empty() || pass->optimizer == "sgd";
  return PassObservation{
      .what = pass->kind == PassSeries::Kind::kForward ? Observed::kForward : Observed::kTrainStep,
      .model = model,
      .precision = pass->precision,
      .batch = pass->batch,
      .seconds = median(sample.settled()),
      .attention = fused ? AttentionKernel::kFused : AttentionKernel::kUnfused,
      .split = QkvSplit::kUnbind,
      .optimizer = sgd ? OptimizerKind::kSgd : OptimizerKind::kAdamW};
}

}  // namespace

std::map<std::string, std::vector<PassObservation>> measured_passes(
    const Measurement& measurement) {
  std::map<std::string, std::vector<PassObservation>> by_gpu;
  for (const Sample& sample : measurement.samples) {
    if (const auto pass = throughput_sample(sample)) {
      by_gpu[sample.as<PassSeries>()->gpu].push_back(*pass);
    }
  }
  for (const RunSummary& summary : summarise(measurement)) {
    const RecordedRun& run = *summary.run;
    if (run.gpus.size() != 1 || summary.ranks.empty() || summary.ranks.front().unit.empty()) {
      continue;
    }
    const PhaseTimes& times = summary.ranks.front().full;
    PassObservation pass{.model = run.model,
                         .precision = run.precision,
                         .batch = summary.micro_batch(0),
                         .split = run.qkv_split,
                         .of_run = true};
    for (const auto& [what, seconds] : {std::pair(Observed::kForward, times.forward_s),
                                        std::pair(Observed::kBackward, times.backward_s)}) {
      pass.what = what;
      pass.seconds = seconds;
      if (seconds > 0) {
        by_gpu[run.gpus.front()].push_back(pass);
      }
    }
  }
  return by_gpu;
}

std::vector<PassObservation> fitted_passes(const GpuProfile& profile) {
  std::vector<PassObservation> passes;
  for (const StepCurve& curve : profile.steps) {
    for (const StepPoint& point : curve.points) {
      for (const auto& [what, time] : {std::pair(Observed::kForward, point.forward),
                                       std::pair(Observed::kBackward, point.backward)}) {
        if (time > Seconds(0)) {
          passes.push_back({.what = what,
                            .model = curve.model,
                            .precision = curve.precision,
                            .batch = point.micro_batch,
                            .seconds = time.value()});
        }
      }
    }
  }
  return passes;
}

}  // namespace vitsim
