#include "calibrate/fit/spread.h"

#include <algorithm>
#include <cmath>

#include "models/distribution.h"

namespace vitsim {

namespace {

constexpr double kPriorRuns = 6;
// Below this share of communication, a run's error is called compute's.
constexpr double kMostlyCompute = 0.3;

double squared(double x) {
  return x * x;
}

struct Outcome {
  double measured_s = 0;
  double predicted_s = 0;
};

// The epoch where the run had whole ones, else the step on the rank's own clock.
std::optional<Outcome> outcome(const RunSummary& summary, const StepParts& parts) {
  if (summary.epoch_s && summary.plan) {
    return Outcome{*summary.epoch_s, parts.epoch_s};
  }
  if (!summary.ranks.empty() && summary.ranks.front().wall_step_s) {
    return Outcome{*summary.ranks.front().wall_step_s, parts.compute_s + parts.all_reduce_s};
  }
  return std::nullopt;
}

double mean_square(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) {
    sum += squared(value);
  }
  return sum / static_cast<double>(values.size());
}

// The spread to expect of a kind that nobody has seen twice: the mean over kinds of their root mean
// squares. Some kinds throttle and some do not; the mean leaves room for the former.
double typical_sigma(const std::map<std::string, std::vector<double>>& by_kind) {
  double sum = 0;
  int kinds = 0;
  for (const auto& [kind, values] : by_kind) {
    if (values.size() >= 2) {
      sum += std::sqrt(mean_square(values));
      ++kinds;
    }
  }
  return kinds == 0 ? 0 : sum / kinds;
}

double pooled_sigma(const std::vector<double>& values, double prior) {
  const auto n = static_cast<double>(values.size());
  const double own = values.empty() ? 0 : n * mean_square(values);
  return std::sqrt((kPriorRuns * squared(prior) + own) / (kPriorRuns + n));
}

// The mean of what ranks waited for others of their kind, by what N normals would make them wait.
std::map<std::string, double> unit_sigmas(const std::vector<RunSummary>& summaries) {
  std::map<std::string, std::pair<double, double>> waits;  // seconds by compute, expected maxima
  for (const RunSummary& summary : summaries) {
    const auto& gpus = summary.run->gpus;
    const bool equal = std::ranges::adjacent_find(gpus, std::ranges::not_equal_to()) == gpus.end();
    if (gpus.size() < 2 || !equal) {
      continue;
    }
    for (const RankSummary& rank : summary.ranks) {
      const double wait = rank.full.all_reduce_s - rank.pure_all_reduce_s();
      waits[gpus.front()].first += wait / rank.full.compute_s();
      waits[gpus.front()].second += expected_maximum(static_cast<double>(gpus.size()));
    }
  }
  std::map<std::string, double> sigmas;
  for (const auto& [gpu, sums] : waits) {
    sigmas[gpu] = sums.first / sums.second;
  }
  return sigmas;
}

// The variance between units' means of the logarithm of compute, over configurations that several
// units of one kind ran alone. The noise of the means is in it: too wide rather than too narrow.
void add_units_seen_alone(const std::vector<RunSummary>& summaries,
                          std::map<std::string, double>& sigmas) {
  using Configuration = std::pair<CurveKey, std::int64_t>;  // with its micro-batch
  std::map<std::string, std::map<Configuration, std::map<std::string, std::vector<double>>>> seen;
  for (const RunSummary& summary : summaries) {
    const RecordedRun& run = *summary.run;
    if (run.gpus.size() != 1 || summary.ranks.empty() || summary.ranks.front().unit.empty()) {
      continue;
    }
    const Configuration configuration = {curve_key(run, 0), run.micro_batch.front()};
    const RankSummary& rank = summary.ranks.front();
    seen[run.gpus.front()][configuration][rank.unit].push_back(std::log(rank.full.compute_s()));
  }
  for (const auto& [gpu, configurations] : seen) {
    double squares = 0;
    double freedom = 0;
    for (const auto& [configuration, units] : configurations) {
      double mean = 0;
      std::vector<double> middles;
      for (const auto& [unit, logarithms] : units) {
        middles.push_back(median(logarithms));
        mean += middles.back() / static_cast<double>(units.size());
      }
      for (const double middle : middles) {
        squares += squared(middle - mean);
      }
      freedom += static_cast<double>(units.size()) - 1;
    }
    if (freedom > 0) {
      sigmas.try_emplace(gpu, std::sqrt(squares / freedom));
    }
  }
}

}  // namespace

std::vector<LeftOutRun> leave_each_out(const std::vector<RunSummary>& summaries,
                                       const Measurement& measurement,
                                       const FitOptions& options) {
  std::vector<LeftOutRun> errors;
  for (const RunSummary& summary : summaries) {
    if (!outcome(summary, {}) || !summary.phases_add_up() ||
        std::ranges::count(options.leave_out, summary.run->name) > 0) {
      continue;
    }
    const auto left_out = fit_without(summary, summaries, measurement, options);
    if (!left_out) {
      continue;
    }
    const StepFit& fit = left_out->fit;
    const StepParts* parts = &left_out->parts;
    const double step = parts->compute_s + parts->all_reduce_s;
    const auto seen = outcome(summary, *parts);
    LeftOutRun error{.run = summary.run->name,
                     .gpu = {},
                     .link = summary.run->gpus.size() > 1 ? link_name(*summary.run) : "",
                     .log_error = std::log(seen->measured_s / seen->predicted_s),
                     .compute_share = parts->compute_s / step};
    double slowest = 0;
    for (const std::size_t rank : summary.kinds) {
      const double compute =
          fit.compute_s.at(curve_key(*summary.run, rank)).at(summary.micro_batch(rank));
      if (compute > slowest) {
        slowest = compute;
        error.gpu = summary.run->gpus[rank];
      }
    }
    for (const RankSummary& rank : summary.ranks) {
      const auto index = static_cast<std::size_t>(rank.rank);
      if (!error.link.empty() && summary.run->gpus[index] == error.gpu) {
        const double copy = fit.constants.at(curve_key(*summary.run, index)).copy_s;
        error.log_reduce_error = std::log(rank.pure_all_reduce_s() / (parts->all_reduce_s + copy));
      }
    }
    errors.push_back(std::move(error));
  }
  return errors;
}

Spreads estimate_spreads(const std::vector<LeftOutRun>& errors,
                         const std::vector<RunSummary>& summaries) {
  std::map<std::string, std::vector<double>> compute;
  for (const LeftOutRun& error : errors) {
    if (error.compute_share > 1 - kMostlyCompute) {
      compute[error.gpu].push_back(error.log_error / error.compute_share);
    }
  }
  const double typical_compute = typical_sigma(compute);

  Spreads spreads;
  std::map<std::string, std::vector<double>> step_sigmas;
  for (const RunSummary& summary : summaries) {
    for (const std::string& gpu : summary.run->gpus) {
      spreads.gpus[gpu];
    }
    for (const RankSummary& rank : summary.ranks) {
      step_sigmas[summary.run->gpus[static_cast<std::size_t>(rank.rank)]].push_back(
          rank.step_sigma);
    }
  }
  auto units = unit_sigmas(summaries);
  add_units_seen_alone(summaries, units);
  for (auto& [gpu, spread] : spreads.gpus) {
    const std::vector<double>& values = compute[gpu];
    if (typical_compute > 0) {
      spread.run_sigma = pooled_sigma(values, typical_compute);
      spread.run_degrees = static_cast<int>(kPriorRuns + static_cast<double>(values.size()));
    }
    if (const auto found = units.find(gpu); found != units.end()) {
      spread.unit_sigma = found->second;
    }
    if (const auto found = step_sigmas.find(gpu); found != step_sigmas.end()) {
      spread.step_sigma = median(found->second);
    }
  }

  // The network's own error where a log shows the AllReduce; else what compute does not explain,
  // where the AllReduce is enough of the step to show.
  std::map<std::string, std::vector<double>> network;
  for (const LeftOutRun& error : errors) {
    if (error.link.empty()) {
      continue;
    }
    const double share = 1 - error.compute_share;
    std::optional<double> value = error.log_reduce_error;
    if (!value && share > kMostlyCompute) {
      const double compute_sigma =
          error.compute_share * spreads.gpus[error.gpu].run_sigma.value_or(0);
      value = std::sqrt(std::max(0.0, squared(error.log_error) - squared(compute_sigma))) / share;
    }
    if (value) {
      network[error.link].push_back(*value);
    }
  }
  const double typical_network = typical_sigma(network);
  for (const RunSummary& summary : summaries) {
    if (summary.run->gpus.size() > 1) {
      spreads.links[link_name(*summary.run)];
    }
  }
  for (auto& [link, spread] : spreads.links) {
    const std::vector<double>& values = network[link];
    if (typical_network > 0) {
      spread.run_sigma = pooled_sigma(values, typical_network);
      spread.run_degrees = static_cast<int>(kPriorRuns + static_cast<double>(values.size()));
    }
  }
  return spreads;
}

}  // namespace vitsim
