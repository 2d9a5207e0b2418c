#include "calibrate/fit/step_constants.h"

#include <algorithm>
#include <utility>

#include "models/distribution.h"
#include "models/precision.h"

namespace vitsim {

namespace {

// Updates and copies compute next to nothing: they scale with memory bandwidth, which is how GPUs
// without logged phases get theirs.
double bandwidth_of(const FitOptions& options, const std::string& gpu) {
  const GpuSheet* sheet = options.sheet(gpu);
  return sheet == nullptr ? 0 : sheet->memory_bandwidth.value();
}

// What loading takes, where only the rest of an epoch tells.
struct LoaderLine {
  double per_sample_s = 0;
  double epoch_s = 0;
};

// rest = per_sample * samples + per_epoch by least squares, both not negative.
LoaderLine loader_line(const std::vector<std::pair<double, double>>& rests) {
  double n = 0;
  double x = 0;
  double y = 0;
  double xx = 0;
  double xy = 0;
  for (const auto& [samples, seconds] : rests) {
    const double weight = 1 / (samples * samples);  // relative errors
    n += weight;
    x += weight * samples;
    y += weight * seconds;
    xx += weight * samples * samples;
    xy += weight * samples * seconds;
  }
  const double determinant = n * xx - x * x;
  double slope = xy / xx;
  double constant = 0;
  if (determinant > 1e-9 * n * xx) {
    const double free_slope = (n * xy - x * y) / determinant;
    const double free_constant = (y - free_slope * x) / n;
    if (free_slope >= 0 && free_constant >= 0) {
      slope = free_slope;
      constant = free_constant;
    }
  }
  return {.per_sample_s = std::max(slope, 0.0), .epoch_s = constant};
}

}  // namespace

CurveKey curve_key(const RecordedRun& run, std::size_t rank) {
  return {.gpu = run.gpus[rank],
          .known = run.model.name != kUnknown,
          .model = architecture(run.model),
          .precision = run.precision,
          .optimizer = run.optimizer};
}

bool same_model(const RecordedRun& a, const RecordedRun& b) {
  return (a.model.name == kUnknown) == (b.model.name == kUnknown) &&
         same_architecture(a.model, b.model);
}

std::map<CurveKey, StepConstants> step_constants(const std::vector<const RunSummary*>& used,
                                                 const FitOptions& options) {
  std::map<CurveKey, std::vector<double>> optimizer;
  std::map<CurveKey, std::vector<double>> copy;
  std::map<std::string, std::vector<std::pair<double, double>>> rests;  // samples, seconds: by GPU
  std::map<CurveKey, std::vector<double>> loads;                        // logged, per sample
  std::map<CurveKey, double> gradients;                                 // bytes
  for (const RunSummary* summary : used) {
    for (const std::size_t rank : summary->kinds) {
      gradients[curve_key(*summary->run, rank)] = summary->gradient_bytes;
    }
    for (const RankSummary& rank : summary->ranks) {
      const CurveKey key = curve_key(*summary->run, static_cast<std::size_t>(rank.rank));
      optimizer[key].push_back(rank.full.optimizer_s);
      if (summary->run->gpus.size() == 1) {
        copy[key].push_back(rank.full.all_reduce_s);
      }
      const auto batch = static_cast<double>(
          summary->micro_batch(static_cast<std::size_t>(rank.rank)) * summary->run->accumulation);
      if (rank.data_load_s) {
        loads[key].push_back(*rank.data_load_s / static_cast<double>(summary->micro_batch(
                                                     static_cast<std::size_t>(rank.rank))));
      } else if (rank.rest_s && summary->plan) {
        rests[key.gpu].emplace_back(batch * summary->full_steps(), *rank.rest_s);
      } else if (rank.wall_step_s) {
        const double phases =
            static_cast<double>(summary->run->accumulation) * rank.full.compute_s() +
            rank.full.all_reduce_s + rank.full.optimizer_s;
        rests[key.gpu].emplace_back(batch, std::max(0.0, *rank.wall_step_s - phases));
      }
    }
  }
  // With master weights an update makes fp32 gradients first and copies weights back: half-size
  // gradients, twice the work of fp32.
  const auto update_work = [](const CurveKey& key) {
    return has_master_weights(key.precision) ? 4.0 : 1.0;
  };
  const auto copy_work = [](const CurveKey&) { return 1.0; };
  // Seconds times memory bandwidth per byte: the same for all GPUs, about.
  const auto typical_traffic = [&](const std::map<CurveKey, std::vector<double>>& seen,
                                   const auto& work) {
    std::vector<double> traffic;
    for (const auto& [key, seconds] : seen) {
      const double bandwidth = bandwidth_of(options, key.gpu);
      if (bandwidth > 0) {
        traffic.push_back(median(seconds) * bandwidth / (work(key) * gradients[key]));
      }
    }
    return traffic.empty() ? 0.0 : median(traffic);
  };
  const double optimizer_traffic = typical_traffic(optimizer, update_work);
  const double copy_traffic = typical_traffic(copy, copy_work);

  std::map<CurveKey, StepConstants> constants;
  for (const auto& [key, bytes] : gradients) {
    StepConstants& result = constants[key];
    const double bandwidth = bandwidth_of(options, key.gpu);
    result.optimizer_measured = optimizer.contains(key);
    result.optimizer_s = result.optimizer_measured ? median(optimizer.at(key))
                         : bandwidth > 0 ? optimizer_traffic * update_work(key) * bytes / bandwidth
                                         : 0;
    result.copy_s = copy.contains(key) ? median(copy.at(key))
                    : bandwidth > 0    ? copy_traffic * bytes / bandwidth
                                       : 0;
    if (const auto load = loads.find(key); load != loads.end()) {
      result.data_load_per_sample_s = median(load->second);
      continue;
    }
    const auto rest = rests.find(key.gpu);
    if (rest == rests.end()) {
      continue;
    }
    const LoaderLine line = loader_line(rest->second);
    result.data_load_per_sample_s = line.per_sample_s;
    result.epoch_s = line.epoch_s;
  }
  return constants;
}

}  // namespace vitsim
