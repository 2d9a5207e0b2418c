#include "sim/assess/validation.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "calibrate/profile/lookup.h"
#include "models/distribution.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/experiment.h"
#include "sim/assess/calibration_check.h"
#include "sim/job/resolve.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

Quantiles exactly(double value) {
  return {.mean = value, .p50 = value};
}

double memory_of(const Measurement& measurement, const std::string& run, std::int64_t rank) {
  for (const Sample& sample : measurement.samples) {
    const auto* reading = sample.as<MemoryReading>();
    if (reading != nullptr && sample.run == run && reading->rank == rank &&
        !reading->bytes.empty()) {
      return median(reading->bytes);
    }
  }
  return 0;
}

// The rank that waits least is the one that the others wait for.
void find_slowest(Report& report) {
  const auto least = std::ranges::min_element(report.ranks, {}, &RankReport::wait_s);
  if (least != report.ranks.end()) {
    least->late_share = 1;
  }
}

Report predict_with(const Experiment& experiment,
                    const ProfileLibrary& library,
                    const PredictOptions& options) {
  return predict(resolve(experiment, load_profiles(experiment, library)), options).front();
}

ValidatedRun not_predictable(const std::string& name, const UserError& error) {
  return {.name = name, .unpredictable = error.problems().front()};
}

std::optional<ValidatedRun> validate_directory(const fs::path& folder,
                                               const ProfileLibrary& library,
                                               const PredictOptions& options) {
  if (!fs::exists(folder / "report.json") || !fs::exists(folder / "resolved.json")) {
    return std::nullopt;
  }
  const std::string name = fs::absolute(folder).lexically_normal().filename().string();
  Report measured = read_report(folder / "report.json");
  if (measured.source != "measured") {
    return std::nullopt;
  }
  try {
    Experiment experiment = read_experiment(folder / "resolved.json");
    DatasetSpec& dataset = experiment.training.dataset;
    if (dataset.samples == 0) {
      // The run counted them. Dealt to as many ranks, an epoch with its padding is that epoch.
      dataset.samples = measured.samples_per_epoch;
      dataset.fraction = 1;
    }
    Report predicted = predict_with(experiment, library, options);
    const bool stopped = measured.epoch_s.p50 <= 0;
    return validate(name, std::move(predicted), std::move(measured), stopped);
  } catch (const UserError& error) {
    return not_predictable(name, error);
  }
}

}  // namespace

const ComparedFigure* ValidatedRun::judged() const {
  const ComparedFigure* epoch = comparison.find("epoch");
  return epoch != nullptr ? epoch : comparison.find("step");
}

Report measured_report(const RunSummary& summary, const Measurement& measurement) {
  const RecordedRun& run = *summary.run;
  Report report{.source = "measured"};
  if (summary.plan) {
    report.steps_per_epoch = summary.plan->steps;
    report.samples_per_epoch = summary.plan->samples;
  }
  if (summary.epoch_s) {
    report.epoch_s = exactly(*summary.epoch_s);
  }
  if (summary.ranks.empty()) {
    return report;
  }
  const auto logged = static_cast<double>(summary.ranks.size());
  const auto micro_batches = static_cast<double>(run.accumulation);
  double reduce = summary.ranks.front().full.all_reduce_s;
  double step = 0;
  for (const RankSummary& rank : summary.ranks) {
    reduce = std::min(reduce, rank.pure_all_reduce_s());
    const double phases =
        micro_batches * rank.full.compute_s() + rank.full.all_reduce_s + rank.full.optimizer_s;
    step = std::max(step, rank.wall_step_s.value_or(phases));
    report.phases.forward_s += micro_batches * rank.full.forward_s / logged;
    report.phases.backward_s += micro_batches * rank.full.backward_s / logged;
    report.phases.optimizer_s += rank.full.optimizer_s / logged;
  }
  report.step_s = exactly(step);
  report.phases.gradient_all_reduce_s = run.gpus.size() > 1 ? reduce : 0;
  report.exposed_communication_s = report.phases.gradient_all_reduce_s;
  if (summary.ranks.size() != run.gpus.size()) {
    return report;
  }
  for (const RankSummary& rank : summary.ranks) {
    const auto index = static_cast<std::size_t>(rank.rank);
    RankReport row{.rank = rank.rank, .gpu = run.gpus[index]};
    row.micro_batch = summary.micro_batch(index);
    row.compute_s = micro_batches * rank.full.compute_s() + rank.full.optimizer_s;
    row.wait_s = run.gpus.size() > 1 ? std::max(0.0, rank.full.all_reduce_s - reduce) : 0;
    row.memory.total_bytes = memory_of(measurement, run.name, rank.rank);
    row.memory.parts.constant = row.memory.total_bytes;
    report.wait_s += row.wait_s / logged;
    report.ranks.push_back(row);
  }
  find_slowest(report);
  report.world_size = std::ssize(report.ranks);
  return report;
}

ValidatedRun validate(std::string name, Report predicted, Report measured, bool stopped) {
  if (stopped) {
    measured.total_s = {};
    measured.epoch_s = {};
  }
  ValidatedRun run{
      .name = std::move(name), .predicted = std::move(predicted), .measured = std::move(measured)};
  run.comparison = compare(run.predicted, run.measured);
  return run;
}

std::vector<ValidatedRun> validate_recorded(const Measurement& measurement,
                                            const std::vector<fs::path>& folders,
                                            const ProfileLibrary& library,
                                            const PredictOptions& options,
                                            const Progress& progress) {
  std::vector<ValidatedRun> runs;
  std::set<std::string> whole;
  for (const fs::path& folder : folders) {
    if (auto run = validate_directory(folder, library, options)) {
      whole.insert(run->name);
      runs.push_back(std::move(*run));
    }
  }
  const std::vector<RunSummary> summaries = summarise(measurement);
  for (std::size_t index = 0; index < summaries.size(); ++index) {
    if (progress) {
      progress(index, summaries.size());
    }
    const RunSummary& summary = summaries[index];
    const RecordedRun& recorded = *summary.run;
    if (whole.contains(recorded.name)) {
      continue;
    }
    if (recorded.micro_batch.empty() || recorded.model.name == kUnknown ||
        std::ranges::count(recorded.gpus, kUnknown) > 0) {
      runs.push_back({.name = recorded.name,
                      .unpredictable = "no file tells its GPUs, model or micro-batch: import it "
                                       "with hints first, see `vitsim calibrate import --help`"});
      continue;
    }
    try {
      ValidatedRun run = validate(summary.run->name,
                                  predict_with(experiment_of(*summary.run), library, options),
                                  measured_report(summary, measurement),
                                  false);
      if (run.judged() == nullptr) {
        run.unpredictable = "neither epochs nor phases were recorded";
      } else if (!summary.phases_add_up()) {
        run.unpredictable =
            "logged without synchronised phases: launches hide behind the AllReduce";
      }
      runs.push_back(std::move(run));
    } catch (const UserError& error) {
      runs.push_back(not_predictable(summary.run->name, error));
    }
  }
  return runs;
}

ValidationRecord record_of(const ValidatedRun& run,
                           const std::string& kind,
                           std::int64_t runs,
                           std::int64_t disturbed) {
  const ComparedFigure& figure = *run.judged();
  ValidationRecord record{.created = timestamp(),
                          .name = run.name,
                          .kind = kind,
                          .ranks = std::ssize(run.predicted.ranks),
                          .figure = figure.name,
                          .predicted_s = figure.a,
                          .measured_s = figure.b,
                          .inside = figure.inside(),
                          .runs = runs,
                          .disturbed = disturbed};
  record.slowest_named = run.comparison.slowest_agree;
  return record;
}

std::vector<std::string> foreign_devices(const Report& measured, const ProfileLibrary& library) {
  std::vector<std::string> warnings;
  std::set<std::pair<std::string, std::string>> seen;
  for (const RankReport& rank : measured.ranks) {
    if (rank.device.empty() || !seen.emplace(rank.gpu, rank.device).second) {
      continue;
    }
    const auto profile = library.gpu(rank.gpu);
    if (profile && !profile->device_name.empty() && !is_device(rank.device, profile->device_name)) {
      warnings.push_back(fmt::format(
          "rank {} trained on {}, but the profile {} was measured on {}: calibrate this "
          "device under a name of its own",
          rank.rank,
          in_quotes(rank.device),
          in_quotes(rank.gpu),
          in_quotes(profile->device_name)));
    }
  }
  return warnings;
}

Timeline settled_part(const Timeline& measured, std::int64_t steps) {
  Timeline part{.name = "measured", .rank_names = measured.rank_names};
  std::optional<std::int64_t> first;
  for (const Span& span : measured.spans) {
    if (!span.warm_up && span.phase < Phase::kEpochBarrier) {
      first = std::min(first.value_or(span.step), span.step);
    }
  }
  if (!first) {
    return part;
  }
  std::optional<std::int64_t> begin;
  for (const Span& span : measured.spans) {
    if (span.step >= *first && span.step < *first + steps && span.phase < Phase::kEpochBarrier) {
      part.spans.push_back(span);
      begin = std::min(begin.value_or(span.begin_ns), span.begin_ns);
    }
  }
  for (Span& span : part.spans) {
    span.begin_ns -= *begin;
    span.end_ns -= *begin;
    span.step -= *first;
  }
  return part;
}

}  // namespace vitsim
