#include "trainer/measure/loader_measurement.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "models/experiment/epoch.h"
#include "trainer/batch_feed.h"

namespace vitsim {

namespace {

constexpr std::array<std::int64_t, 3> kWorkers = {1, 2, 4};
constexpr std::int64_t kBatch = 8;
constexpr std::int64_t kLeastRounds = 4;  // batches of each worker, the first is left out
constexpr double kMost_s = 3;             // of one case

// Seconds per image while all workers load. Each batch is taken as soon as it is there, so none
// waits in the queue: the workers' batches arrive in rounds, about together. What comes between the
// first round and the last one of an epoch counts.
std::vector<double> seconds_per_image(const Dataset& dataset,
                                      const TrainingSpec& training,
                                      const Device& device,
                                      std::int64_t workers,
                                      double most_s) {
  using Clock = std::chrono::steady_clock;
  LoaderSpec spec = training.loader;
  spec.workers = workers;
  const std::int64_t batch =
      std::clamp<std::int64_t>(dataset.size() / (workers * kLeastRounds), 1, kBatch);
  const std::int64_t round = workers * batch;
  const std::vector<std::int64_t> micro_batch = {batch};
  const EpochPlan plan = plan_epoch(
      std::max(batch, dataset.size() - dataset.size() % round), 1, micro_batch, /*accumulation=*/1);
  std::vector<double> found;
  const auto begin = Clock::now();
  for (std::int64_t epoch = 0; found.size() < 3; ++epoch) {
    const auto loader = start_epoch(dataset,
                                    training,
                                    plan,
                                    /*rank=*/0,
                                    /*world=*/1,
                                    epoch,
                                    /*first_step=*/0,
                                    loader_options(spec, device));
    const std::int64_t warm_up = std::min(workers, loader->left() - 1);
    for (std::int64_t i = 0; i < warm_up; ++i) {
      (void)loader->next();
    }
    const auto start = Clock::now();
    std::int64_t batches = 0;
    double taken_s = 0;
    while (loader->left() > 0 &&
           (batches % workers != 0 || batches < kLeastRounds * workers || taken_s < most_s / 4)) {
      (void)loader->next();
      ++batches;
      taken_s = std::chrono::duration<double>(Clock::now() - start).count();
    }
    found.push_back(taken_s / static_cast<double>(batches * batch));
    if (std::chrono::duration<double>(Clock::now() - begin).count() > most_s) {
      break;
    }
  }
  return found;
}

}  // namespace

void measure_loader(Bench& bench, const TrainingSpec& training, double until_s) {
  const std::int64_t ranks_here = bench.session().local_size();
  const double cores = static_cast<double>(std::max(1U, std::thread::hardware_concurrency())) /
                       static_cast<double>(ranks_here);
  const bool on_cpu = bench.device().torch_device().is_cpu();
  std::vector<std::int64_t> sizes = {training.model.image_size};
  if (training.model.image_size % (2 * training.model.patch) == 0) {
    sizes.push_back(training.model.image_size / 2);
  }
  for (const std::int64_t size : sizes) {
    TrainingSpec resized = training;
    resized.model.image_size = size;
    const auto dataset = open_dataset(resized, Split::kTrain);
    for (const std::int64_t workers : kWorkers) {
      const double left_s = until_s - bench.budget().elapsed_s();
      if (!bench.agree(left_s > 0.5)) {
        bench.could_not(fmt::format(
            "not measured: loading {} px images with {} workers: no time", size, workers));
        return;
      }
      bench.progress(fmt::format("loading with {} workers", workers));
      bench.communication().barrier();
      const std::size_t first_sample = bench.measured.samples.size();
      bench.begin_timing();
      LoaderSeries series{
          .gpu = bench.name(),
          .dataset = training.dataset.name,
          .image_size = size,
          .channels = training.model.channels,
          .workers = workers,
          .cores = cores,
          .compute_threads = on_cpu ? static_cast<double>(at::get_num_threads()) : 0.0,
          .rank = bench.session().rank()};
      series.seconds = seconds_per_image(
          *dataset, resized, bench.device(), workers, std::min(kMost_s, left_s / 2));
      bench.measured.samples.push_back({.series = std::move(series)});
      bench.end_timing(first_sample);
    }
  }
}

}  // namespace vitsim
