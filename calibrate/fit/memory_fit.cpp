#include "calibrate/fit/memory_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "models/distribution.h"
#include "models/vit/cost_graph.h"
#include "models/vit/memory.h"

namespace vitsim {

namespace {

constexpr double kEnoughBytes = 64 << 20;

struct Reading {
  std::string gpu;
  std::int64_t world_size = 1;
  std::int64_t micro_batch = 1;
  TrainingSpec training;
  double bytes = 0;
};

std::vector<Reading> clean_readings(const Measurement& measurement,
                                    const std::vector<RunSummary>& summaries,
                                    const FitOptions& options) {
  std::vector<Reading> readings;
  for (const RunSummary& summary : summaries) {
    const RecordedRun& run = *summary.run;
    if (std::ranges::count(options.leave_out, run.name) > 0) {
      continue;
    }
    std::map<std::pair<std::string, std::int64_t>, double> smallest;
    for (const Sample& sample : measurement.samples) {
      const auto* reading = sample.as<MemoryReading>();
      if (reading == nullptr || sample.run != run.name || reading->bytes.empty() ||
          reading->rank < 0 || reading->rank >= std::ssize(run.gpus)) {
        continue;
      }
      const auto rank = static_cast<std::size_t>(reading->rank);
      const auto key = std::pair(run.gpus.at(rank), summary.micro_batch(rank));
      const double bytes = median(reading->bytes);
      const auto [entry, fresh] = smallest.try_emplace(key, bytes);
      entry->second = std::min(entry->second, bytes);
    }
    for (const auto& [key, bytes] : smallest) {
      TrainingSpec training{.model = run.model, .precision = run.precision};
      training.optimizer.kind = run.optimizer;
      training.gradient_sync = run.gradient_sync;
      readings.push_back({.gpu = key.first,
                          .world_size = summary.world_size(),
                          .micro_batch = key.second,
                          .training = training,
                          .bytes = bytes});
    }
  }
  return readings;
}

double computed(const Reading& reading, double factor) {
  return memory_parts(reading.training,
                      reading.world_size,
                      reading.micro_batch,
                      {.constant = Bytes(0), .alone = Bytes(0), .activation_factor = factor})
      .total();
}

}  // namespace

void fit_memory(const Measurement& measurement,
                const std::vector<RunSummary>& summaries,
                const FitOptions& options,
                Calibration& calibration) {
  const std::vector<Reading> readings = clean_readings(measurement, summaries, options);
  std::map<std::string, std::vector<const Reading*>> by_gpu;
  for (const Reading& reading : readings) {
    by_gpu[reading.gpu].push_back(&reading);
  }
  // The factor from GPUs seen at two micro-batches of one precision, world sizes above one.
  std::vector<double> factors;
  std::map<std::string, double> own_factor;
  for (const auto& [gpu, list] : by_gpu) {
    std::vector<double> slopes;
    for (const Reading* small : list) {
      for (const Reading* large : list) {
        const bool pair = small->training.precision == large->training.precision &&
                          small->training.model == large->training.model &&
                          (small->world_size > 1) == (large->world_size > 1) &&
                          large->micro_batch >= 2 * small->micro_batch;
        // The allocator's granularity and a stranger's megabytes must not count as activations.
        const bool enough = small->micro_batch >= 8 ||
                            (small->world_size == 1 && large->bytes - small->bytes > kEnoughBytes);
        if (pair && enough) {
          const double per_sample =
              activation_bytes_per_sample(small->training.model, small->training.precision).value();
          slopes.push_back(
              (large->bytes - small->bytes) /
              (per_sample * static_cast<double>(large->micro_batch - small->micro_batch)));
        }
      }
    }
    if (!slopes.empty()) {
      own_factor[gpu] = median(slopes);
      factors.push_back(own_factor[gpu]);
    }
  }
  const double typical_factor = factors.empty() ? 1 : median(factors);
  for (const auto& [gpu, list] : by_gpu) {
    const auto profile = calibration.gpus.find(gpu);
    if (profile == calibration.gpus.end()) {
      continue;
    }
    const double factor = own_factor.contains(gpu) ? own_factor[gpu] : typical_factor;
    std::vector<double> together;
    std::vector<double> alone;
    for (const Reading* reading : list) {
      (reading->world_size > 1 ? together : alone)
          .push_back(reading->bytes - computed(*reading, factor));
    }
    const double constant = together.empty() ? median(alone) : median(together);
    profile->second.activation_factor = factor;
    profile->second.memory_constant = Bytes(std::max(0.0, constant));
    profile->second.memory_alone =
        Bytes(together.empty() || alone.empty() ? 0 : std::max(0.0, median(alone) - constant));
  }
}

std::optional<Bytes> recorded_capacity(const Measurement& measurement, const std::string& gpu) {
  std::optional<Bytes> least;
  for (const Sample& sample : measurement.samples) {
    const auto* reading = sample.as<MemoryReading>();
    if (reading == nullptr || !reading->capacity_bytes) {
      continue;
    }
    const Bytes capacity(*reading->capacity_bytes);
    const RecordedRun* run = measurement.find_run(sample.run);
    const auto rank = static_cast<std::size_t>(reading->rank);
    if (run != nullptr && rank < run->gpus.size() && run->gpus[rank] == gpu) {
      least = std::min(least.value_or(capacity), capacity);
    }
  }
  return least;
}

}  // namespace vitsim
