#include "calibrate/fit/pass_observations.h"

#include <algorithm>
#include <optional>
#include <span>

#include "calibrate/fit/run_summary.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

std::optional<PassObservation> throughput_sample(const Sample& sample) {
  const auto number = [&](const char* key) -> std::optional<std::int64_t> {
    const auto found = sample.number.find(key);
    return found == sample.number.end() ? std::nullopt
                                        : std::optional(static_cast<std::int64_t>(found->second));
  };
  const auto layers = number("layers");
  const auto width = number("width");
  const auto heads = number("heads");
  const auto mlp = number("mlp");
  const auto patch = number("patch");
  const auto image_size = number("image_size");
  const auto batch = number("batch");
  const auto precision = sample.text.find("precision");
  if (!layers || !width || !heads || !mlp || !patch || !image_size || !batch ||
      sample.seconds.empty() || precision == sample.text.end() ||
      !precision_from_name(precision->second)) {
    return std::nullopt;
  }
  const auto torch = sample.text.find("torch");
  const auto name = sample.text.find("model");
  const auto optimizer = sample.text.find("optimizer");
  const auto warm_up =
      std::min<std::size_t>(static_cast<std::size_t>(sample.warm_up), sample.seconds.size() - 1);
  // Attention became one kernel with torch 2.
  const bool fused = torch == sample.text.end() || !torch->second.starts_with("1.");
  const bool sgd = optimizer == sample.text.end() || optimizer->second == "sgd";
  return PassObservation{
      .what = sample.what == "forward_pass" ? Observed::kForward : Observed::kTrainStep,
      .model = {.name = name == sample.text.end() ? "custom" : name->second,
                .layers = *layers,
                .width = *width,
                .heads = *heads,
                .mlp = *mlp,
                .patch = *patch,
                .image_size = *image_size,
                .channels = number("channels").value_or(3),
                .classes = number("classes").value_or(1000)},
      .precision = *precision_from_name(precision->second),
      .batch = *batch,
      .seconds = median(std::span(sample.seconds).subspan(warm_up)),
      .attention = fused ? AttentionKernel::kFused : AttentionKernel::kUnfused,
      .split = QkvSplit::kUnbind,
      .optimizer = sgd ? OptimizerKind::kSgd : OptimizerKind::kAdamW
  };
}

}  // namespace

std::map<std::string, std::vector<PassObservation>> measured_passes(
    const Measurement& measurement) {
  std::map<std::string, std::vector<PassObservation>> by_gpu;
  for (const Sample& sample : measurement.samples) {
    const auto gpu = sample.text.find("gpu");
    if ((sample.what != "forward_pass" && sample.what != "train_step") ||
        gpu == sample.text.end()) {
      continue;
    }
    if (const auto pass = throughput_sample(sample)) {
      by_gpu[gpu->second].push_back(*pass);
    }
  }
  for (const RunSummary& summary : summarise(measurement)) {
    const RecordedRun& run = *summary.run;
    if (run.gpus.size() != 1 || summary.ranks.empty() || summary.ranks.front().unit.empty()) {
      continue;
    }
    const PhaseTimes& times = summary.ranks.front().full;
    PassObservation pass{
        .model = run.model, .precision = run.precision, .batch = summary.micro_batch(0)};
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
