#include "calibrate/fit/loader_fit.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "calibrate/fit/step_constants.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

// Of a pass, that loading beside it may have left it; less is a fault of the measurement.
constexpr double kLeastComputeShare = 0.4;
// Workers of the loader while steps are measured, as the trainer's default.
constexpr std::int64_t kMeasuredWorkers = 2;

// Seconds of whole steps of one rank alone, by what it computed and its micro-batch.
using StepTimes = std::map<std::pair<CurveKey, std::int64_t>, std::vector<double>>;

StepTimes step_times(const Measurement& measurement) {
  StepTimes times;
  for (const Sample& sample : measurement.samples) {
    const RecordedRun* run = measurement.find_run(sample.run);
    if (sample.as<StepSeries>() != nullptr && run != nullptr && run->gpus.size() == 1 &&
        run->micro_batch.size() == 1 && !sample.disturbed) {
      auto& values = times[{curve_key(*run, 0), run->micro_batch.front()}];
      values.insert(values.end(), sample.settled().begin(), sample.settled().end());
    }
  }
  return times;
}

// What a step that was measured beside the loader in `step` would take without it. On a CPU its
// passes were slowed where both together used up the cores: then the step's time over all cores is
// the work of both. Where the loader was the bottleneck, the step holds its waits.
void take_out_loading(const LoaderTimes& loader, std::optional<Seconds> step, StepPoint& point) {
  const auto images = static_cast<double>(point.micro_batch);
  Seconds compute = point.forward + point.backward + point.optimizer;
  if (loader.compute_threads > 0 && step) {
    const Seconds work = *step * loader.cores - loader.per_image(1) * images;
    const double share = work / loader.compute_threads / compute;
    if (share > kLeastComputeShare && share < 1) {
      for (Seconds* pass : {&point.forward, &point.backward, &point.optimizer}) {
        *pass = *pass * share;
      }
      compute = compute * share;
    }
  }
  const Seconds wait = loader.step_limit(kMeasuredWorkers, images, compute) - compute;
  if (wait > Seconds(0)) {
    point.data_load = std::max(Seconds(0), point.data_load - wait);
  }
}

}  // namespace

void fit_loaders(const Measurement& measurement, Calibration& calibration) {
  // By GPU, data set, size, channels; then by workers: all ranks and visits together.
  using Key = std::tuple<std::string, std::string, std::int64_t, std::int64_t>;
  std::map<Key, std::map<std::int64_t, std::vector<double>>> seconds;
  std::map<Key, const LoaderSeries*> facts;
  for (const Sample& sample : measurement.samples) {
    if (const auto* series = sample.as<LoaderSeries>(); series != nullptr && !sample.disturbed) {
      const Key key{series->gpu, series->dataset, series->image_size, series->channels};
      auto& values = seconds[key][series->workers];
      values.insert(values.end(), sample.settled().begin(), sample.settled().end());
      facts[key] = series;
    }
  }
  for (const auto& [key, by_workers] : seconds) {
    const auto profile = calibration.gpus.find(std::get<0>(key));
    if (profile == calibration.gpus.end()) {
      continue;
    }
    LoaderTimes times{.dataset = std::get<1>(key),
                      .image_size = std::get<2>(key),
                      .channels = std::get<3>(key),
                      .cores = facts[key]->cores,
                      .compute_threads = facts[key]->compute_threads};
    for (const auto& [workers, values] : by_workers) {
      times.points.push_back({.workers = workers, .per_image = Seconds(median(values))});
    }
    profile->second.loaders.push_back(std::move(times));
  }
  const StepTimes steps = step_times(measurement);
  for (auto& [name, profile] : calibration.gpus) {
    if (profile.loaders.empty()) {
      continue;
    }
    for (StepCurve& curve : profile.steps) {
      TrainingSpec training{.model = curve.model};
      training.dataset.name = profile.loaders.front().dataset;
      if (const auto loader = loader_for(profile.loaders, training)) {
        const CurveKey key{.gpu = name,
                           .model = architecture(curve.model),
                           .precision = curve.precision,
                           .optimizer = curve.optimizer};
        for (StepPoint& point : curve.points) {
          const auto step = steps.find({key, point.micro_batch});
          take_out_loading(
              *loader,
              step == steps.end() ? std::nullopt : std::optional(Seconds(median(step->second))),
              point);
        }
      }
    }
  }
}

}  // namespace vitsim
