#include "sim/assess/calibration_check.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <oneapi/tbb/parallel_for.h>

#include "calibrate/fit/step_fit.h"
#include "models/distribution.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/vit/memory.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {

namespace {

std::string group_of(const RecordedRun& run) {
  return fmt::format("{} {}", run.cluster, name(run.precision));
}

// Why a left-out run cannot be predicted, if it cannot.
std::string missing_part(const RunSummary& summary, const std::vector<RunSummary>& others) {
  const RecordedRun& run = *summary.run;
  const bool by_step = !summary.ranks.empty() && summary.ranks.front().wall_step_s;
  if (summary.epoch_s && !summary.plan && !by_step) {
    return "its samples per epoch are not known: give --samples";
  }
  if (!summary.epoch_s && !by_step) {
    return "neither epochs nor whole steps were recorded";
  }
  if (!summary.phases_add_up()) {
    return "logged without synchronised phases: launches hide behind the AllReduce";
  }
  for (std::size_t rank = 0; rank < run.gpus.size(); ++rank) {
    const bool shown = std::ranges::any_of(others, [&](const RunSummary& other) {
      if (other.run == summary.run || !other.phases_add_up()) {
        return false;
      }
      for (std::size_t i = 0; i < other.run->gpus.size(); ++i) {
        if (other.run->gpus[i] == run.gpus[rank] && same_model(*other.run, run) &&
            other.run->precision == run.precision &&
            other.micro_batch(i) == summary.micro_batch(rank)) {
          return true;
        }
      }
      return false;
    });
    if (!shown) {
      return fmt::format("no other run shows a {} at micro-batch {} in {}",
                         run.gpus[rank],
                         summary.micro_batch(rank),
                         name(run.precision));
    }
  }
  const bool linked = run.gpus.size() < 2 || std::ranges::any_of(others, [&](const auto& other) {
                        return other.run != summary.run && other.run->gpus.size() > 1 &&
                               other.phases_add_up() && link_name(*other.run) == link_name(run);
                      });
  return linked ? "" : fmt::format("no other run shows the network {}", link_name(run));
}

// Whether another run logged the phases of this GPU in the same work.
bool logged_elsewhere(const RunSummary& summary,
                      std::size_t rank,
                      const std::vector<RunSummary>& all) {
  return std::ranges::any_of(all, [&](const RunSummary& other) {
    return other.run != summary.run &&
           std::ranges::any_of(other.ranks, [&](const RankSummary& logged) {
             const auto index = static_cast<std::size_t>(logged.rank);
             return curve_key(*other.run, index) == curve_key(*summary.run, rank) &&
                    other.micro_batch(index) == summary.micro_batch(rank);
           });
  });
}

// Whether another run logged an AllReduce of as many bytes among as many ranks on this network.
bool reduced_elsewhere(const RunSummary& summary, const std::vector<RunSummary>& all) {
  return std::ranges::any_of(all, [&](const RunSummary& other) {
    return other.run != summary.run && !other.ranks.empty() &&
           other.world_size() == summary.world_size() &&
           other.gradient_bytes == summary.gradient_bytes &&
           link_name(*other.run) == link_name(*summary.run);
  });
}

void check_components(const RunSummary& summary,
                      const std::vector<RunSummary>& all,
                      const ResolvedExperiment& resolved,
                      const Report& report,
                      std::vector<ComponentCheck>& components) {
  const ResolvedJob& job = resolved.jobs.front();
  double slowest = 0;
  for (const RankReport& rank : report.ranks) {
    slowest = std::max(slowest, rank.compute_s);
  }
  for (const RankSummary& rank : summary.ranks) {
    const auto index = static_cast<std::size_t>(rank.rank);
    const RankClass& predicted = job.rank_class(index);
    const MicroBatchTimes times = predicted.compute->at(predicted.micro_batch());
    const auto add = [&](const std::string& part, double measured, double value) {
      components.push_back(
          {summary.run->name, fmt::format("{} ({})", part, predicted.gpu), measured, value});
    };
    if (logged_elsewhere(summary, index, all)) {
      add("forward", rank.full.forward_s, times.forward.value());
      add("backward", rank.full.backward_s, times.backward.value());
      add("optimizer", rank.full.optimizer_s, predicted.compute->optimizer.value());
    }
    // DeepSpeed's timer holds the flattening too, which the profile keeps apart.
    const bool is_slowest = report.ranks[index].compute_s >= slowest * (1 - 1e-9);
    if (job.world_size() > 1 && is_slowest) {
      const char* shown = reduced_elsewhere(summary, all) ? "" : ", from other sizes";
      components.push_back(
          {summary.run->name,
           fmt::format(
               "all_reduce ({}, {} ranks{})", link_name(*summary.run), job.world_size(), shown),
           rank.pure_all_reduce_s(),
           report.phases.gradient_all_reduce_s + predicted.compute->other.value()});
    }
  }
}

void check_memory(const Measurement& measurement,
                  const RecordedRun& run,
                  const Report& report,
                  std::vector<ComponentCheck>& components) {
  std::map<std::string, std::pair<double, double>> smallest;  // by GPU: measured, predicted
  for (const Sample& sample : measurement.samples) {
    const auto* reading = sample.as<MemoryReading>();
    if (reading == nullptr || sample.run != run.name || reading->bytes.empty() ||
        reading->rank < 0 || reading->rank >= std::ssize(run.gpus) ||
        reading->rank >= std::ssize(report.ranks)) {
      continue;
    }
    const auto rank = static_cast<std::size_t>(reading->rank);
    const double bytes = median(reading->bytes);
    const auto [entry, fresh] = smallest.try_emplace(
        run.gpus[rank], std::pair(bytes, report.ranks[rank].memory.total_bytes));
    entry->second.first = std::min(entry->second.first, bytes);
  }
  for (const auto& [gpu, pair] : smallest) {
    components.push_back({run.name, fmt::format("memory ({})", gpu), pair.first, pair.second});
  }
}

bool gpus_known(const RecordedRun& run) {
  return std::ranges::count(run.gpus, kUnknown) == 0;
}

// What a check of the run lacks: what every fit lacks, and the length of its epochs.
std::string missing_for_check(const Measurement& measurement, const RecordedRun& run) {
  std::string missing = missing_facts(run);
  const bool has_epochs = std::ranges::any_of(measurement.samples, [&](const Sample& sample) {
    return sample.run == run.name && sample.as<EpochSeries>() != nullptr;
  });
  if (!missing.empty() && has_epochs && run.samples == 0) {
    missing += "; its samples per epoch are not known: give --samples";
  }
  return missing;
}

// GPUs without a name may differ: as one kind they would spoil every spread.
Measurement without_unknown_gpus(const Measurement& measurement) {
  Measurement known = measurement;
  std::erase_if(known.runs, [](const RecordedRun& run) { return !gpus_known(run); });
  std::erase_if(known.samples, [&](const Sample& sample) {
    return !sample.run.empty() && known.find_run(sample.run) == nullptr;
  });
  return known;
}

// Of so many runs each has next to no part in the spread of all, which then need not be found again
// without it: that would take as many fits as there are pairs of runs.
constexpr std::size_t kManyRuns = 40;

}  // namespace

double RunCheck::half_width() const {
  return p05_s ? (*p95_s - *p05_s) / (2 * predicted_s) : 0;
}

Experiment experiment_of(const RecordedRun& run) {
  Experiment experiment{.file = run.name};
  TrainingSpec& training = experiment.training;
  training.model = run.model;
  training.dataset = {.name = "recorded", .samples = std::max<std::int64_t>(run.samples, 1)};
  training.micro_batch = run.micro_batch;
  training.accumulation = run.accumulation;
  training.epochs = std::max<std::int64_t>(run.epochs, 1);
  training.precision = run.precision;
  training.optimizer.kind = run.optimizer;
  training.gradient_sync = run.gradient_sync;
  const LinkSpec link{.profile = link_name(run)};
  if (run.one_node) {
    NodeSpec node{.name = run.cluster};
    for (const std::string& gpu : run.gpus) {
      node.gpus.push_back({.model = gpu});
    }
    if (run.gpus.size() > 1) {
      node.intra_node = link;
    }
    experiment.cluster.nodes.push_back(std::move(node));
  } else {
    for (std::size_t rank = 0; rank < run.gpus.size(); ++rank) {
      experiment.cluster.nodes.push_back(
          {.name = fmt::format("host-{}", rank), .gpus = {{.model = run.gpus[rank]}}});
    }
    if (run.gpus.size() > 1) {
      experiment.cluster.network = link;
    }
  }
  return experiment;
}

CalibrationCheck check_calibration(const Measurement& all,
                                   const FitOptions& options,
                                   const Progress& progress) {
  std::vector<std::string> missing;
  for (const RecordedRun& run : all.runs) {
    if (const std::string facts = missing_for_check(all, run); !facts.empty()) {
      missing.push_back(fmt::format("run {}: {}", in_quotes(run.name), facts));
    }
  }
  if (!missing.empty() && missing.size() == all.runs.size()) {
    throw UserError(missing);
  }
  const Measurement measurement = without_unknown_gpus(all);
  const std::vector<RunSummary> summaries = summarise(measurement);
  std::vector<RunCheck> runs(summaries.size());
  std::vector<std::vector<ComponentCheck>> components(summaries.size());
  std::optional<Calibration> spread_of_all;
  if (summaries.size() > kManyRuns) {
    spread_of_all = fit(measurement, options);
  }
  std::atomic<std::size_t> done = 0;
  oneapi::tbb::parallel_for(std::size_t{0}, summaries.size(), [&](std::size_t index) {
    if (progress) {
      progress(done++, summaries.size());
    }
    const RunSummary& summary = summaries[index];
    RunCheck& check = runs[index];
    check.run = summary.run->name;
    check.group = group_of(*summary.run);
    check.unpredictable = missing_part(summary, summaries);
    if (!check.unpredictable.empty()) {
      return;
    }
    FitOptions without = options;
    without.leave_out.push_back(summary.run->name);
    without.with_model_errors = false;
    without.keep_measured_loading = true;  // since it is in the step that was measured
    without.with_spread = !spread_of_all;
    Calibration calibration = fit(measurement, without);
    if (spread_of_all) {
      for (auto& [gpu, profile] : calibration.gpus) {
        profile.spread = spread_of_all->gpus.at(gpu).spread;
      }
      for (auto& [link, profile] : calibration.links) {
        profile.spread = spread_of_all->links.at(link).spread;
      }
    }
    const ProfileSet profiles{
        .gpus = calibration.gpus, .links = calibration.links, .sheets = options.sheets};
    const ResolvedExperiment resolved = resolve(experiment_of(*summary.run), profiles);
    const Report report = predict(resolved, {.gains = false, .all_ranks = true}).front();
    const bool by_epoch = summary.epoch_s && summary.plan;
    const Quantiles& predicted = by_epoch ? report.epoch_s : report.step_s;
    check.measured_s = by_epoch ? *summary.epoch_s : *summary.ranks.front().wall_step_s;
    check.predicted_s = predicted.p50;
    check.p05_s = predicted.p05;
    check.p95_s = predicted.p95;
    check_components(summary, summaries, resolved, report, components[index]);
    check_memory(measurement, *summary.run, report, components[index]);
  });
  CalibrationCheck result{
      .runs = std::move(runs), .components = {}, .models = leave_models_out(measurement, options)};
  for (const RecordedRun& run : all.runs) {
    const std::string facts =
        gpus_known(run) ? missing_for_check(all, run) : "no file tells its GPUs: give --gpus";
    if (!facts.empty()) {
      result.runs.push_back({.run = run.name, .group = group_of(run), .unpredictable = facts});
    }
  }
  for (const auto& some : components) {
    result.components.insert(result.components.end(), some.begin(), some.end());
  }
  return result;
}

}  // namespace vitsim
