#include "calibrate/fit/loader_fit.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "models/distribution.h"

namespace vitsim {

namespace {

// Workers of the loader while steps are measured, as the trainer's default.
constexpr std::int64_t kMeasuredWorkers = 2;

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
  // A step that was measured with the loader as its bottleneck holds its waits.
  for (auto& [name, profile] : calibration.gpus) {
    if (profile.loaders.empty()) {
      continue;
    }
    for (StepCurve& curve : profile.steps) {
      TrainingSpec training{.model = curve.model};
      training.dataset.name = profile.loaders.front().dataset;
      const auto loader = loader_for(profile.loaders, training);
      for (StepPoint& point : curve.points) {
        const Seconds compute = point.forward + point.backward + point.optimizer;
        const Seconds wait =
            loader->step_limit(kMeasuredWorkers, static_cast<double>(point.micro_batch), compute) -
            compute;
        if (wait > Seconds(0)) {
          point.data_load = std::max(Seconds(0), point.data_load - wait);
        }
      }
    }
  }
}

}  // namespace vitsim
