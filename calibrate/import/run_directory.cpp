#include "calibrate/import/run_directory.h"

#include <algorithm>
#include <array>
#include <istream>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"
#include "models/experiment/epoch.h"
#include "models/experiment/experiment.h"
#include "models/report/report.h"
#include "models/report/timeline.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

double seconds_of(const Span& span) {
  return static_cast<double>(span.end_ns - span.begin_ns) / 1e9;
}

void read_resolved(const fs::path& file, RunFacts& facts) {
  const Experiment experiment = read_experiment(file);
  for (const RankPlace& place : rank_places(experiment.cluster)) {
    facts.gpus.push_back(experiment.cluster.nodes[place.node].gpus[place.gpu].model);
  }
  facts.world_size = std::ssize(facts.gpus);
  const ClusterSpec& cluster = experiment.cluster;
  facts.one_node = cluster.nodes.size() == 1;
  const auto& inside =
      cluster.nodes.front().intra_node ? cluster.nodes.front().intra_node : cluster.intra_node;
  const auto& between = *facts.one_node ? inside : cluster.network;
  if (between && between->profile) {
    facts.link = between->profile;
    facts.cluster = between->profile;
  }
  const TrainingSpec& training = experiment.training;
  facts.model = training.model;
  facts.precision = training.precision;
  facts.optimizer = training.optimizer.kind;
  facts.gradient_sync = training.gradient_sync;
  facts.micro_batch = training.micro_batch;
  facts.accumulation = training.accumulation;
  facts.epochs = training.epochs;
  if (training.dataset.samples > 0) {
    facts.samples = subset_samples(training.dataset.samples, training.dataset.fraction);
  }
}

void read_rank_reports(const fs::path& file, Piece& piece) {
  const Report report = read_report(file);
  if (report.source != "measured") {
    throw UserError(fmt::format("{}: a prediction, not a measurement", file.string()));
  }
  RunFacts known;
  for (const RankReport& rank : report.ranks) {
    known.gpus.push_back(rank.gpu);
    known.micro_batch.push_back(rank.micro_batch);
  }
  known.world_size = std::ssize(report.ranks);
  if (report.samples_per_epoch > 0) {
    known.samples = report.samples_per_epoch;  // with the padding, which makes the same steps
  }
  piece.facts.complete_with(known);
  for (const RankReport& rank : report.ranks) {
    if (rank.memory.total_bytes > 0) {
      piece.samples.push_back({.series = MemoryReading{.rank = rank.rank,
                                                       .capacity_bytes = rank.memory.capacity_bytes,
                                                       .bytes = {rank.memory.total_bytes}}});
    }
  }
}

void read_epochs(const fs::path& file, Piece& piece) {
  FileBuffer buffer(file);
  std::istream stream(&buffer);
  CsvTable table(stream, file.string());
  if (!table.require({"train_s"})) {
    throw UserError(table.problems);
  }
  EpochSeries epochs;
  while (table.next()) {
    if (const auto seconds = table.number("train_s")) {
      epochs.seconds.push_back(*seconds);
    }
  }
  if (!table.problems.empty()) {
    throw UserError(table.problems);
  }
  piece.warnings.insert(piece.warnings.end(), table.warnings.begin(), table.warnings.end());
  if (!epochs.seconds.empty()) {
    piece.samples.push_back({.series = std::move(epochs)});
  }
}

/// One rank's spans of one step.
struct RankStep {
  std::map<Phase, std::vector<const Span*>> phases;
  /// Seconds of each pass of a phase. A pass that waited for a collective was written down in
  /// pieces: those between which the GPU computed nothing else are one.
  std::map<Phase, std::vector<double>> passes;
  std::optional<Phase> computed;  // last on the compute stream
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  bool warm_up = false;
};

/// By rank, then by step.
using Steps = std::map<std::int64_t, std::map<std::int64_t, RankStep>>;

/// What belongs to no step: barriers, evaluation, checkpoints.
bool inside_step(Phase phase) {
  return phase != Phase::kEpochBarrier && phase != Phase::kEvaluate && phase != Phase::kCheckpoint;
}

Steps steps_of(const Timeline& timeline) {
  Steps steps;
  for (const Span& span : timeline.spans) {
    if (!inside_step(span.phase) || span.end_ns < span.begin_ns) {
      continue;
    }
    const auto [at, fresh] = steps[span.rank].try_emplace(span.step);
    RankStep& step = at->second;
    step.phases[span.phase].push_back(&span);
    std::vector<double>& passes = step.passes[span.phase];
    if (span.stream == Stream::kCompute && step.computed == span.phase) {
      passes.back() += seconds_of(span);
    } else {
      passes.push_back(seconds_of(span));
    }
    if (span.stream == Stream::kCompute) {
      step.computed = span.phase;
    }
    step.warm_up = step.warm_up || span.warm_up;
    // The loader works ahead, in the shadow of other steps.
    if (span.stream != Stream::kLoader) {
      const bool first = step.end_ns == 0 && step.begin_ns == 0;
      step.begin_ns = first ? span.begin_ns : std::min(step.begin_ns, span.begin_ns);
      step.end_ns = first ? span.end_ns : std::max(step.end_ns, span.end_ns);
    }
  }
  return steps;
}

/// Steps that the trainer calls warm-up, or the usual number where it calls none so.
std::int64_t warm_up_steps(const std::map<std::int64_t, RankStep>& steps) {
  const auto count =
      std::ranges::count_if(steps, [](const auto& entry) { return entry.second.warm_up; });
  return count > 0 ? count : std::min(kWarmUpSteps, std::ssize(steps));
}

void add_phases(const Steps& steps, Piece& piece) {
  static constexpr std::array<Phase, 7> kPhases = {Phase::kDataLoad,
                                                   Phase::kForward,
                                                   Phase::kBackward,
                                                   Phase::kGradientAllReduce,
                                                   Phase::kParameterAllGather,
                                                   Phase::kOptimizer,
                                                   Phase::kOther};
  for (const auto& [rank, by_step] : steps) {
    std::map<Phase, std::vector<double>> columns;
    std::vector<double> whole;
    std::size_t most_micro_steps = 1;
    for (const auto& [number, step] : by_step) {
      const auto forward = step.passes.find(Phase::kForward);
      const std::size_t micro_steps = forward == step.passes.end() ? 1 : forward->second.size();
      most_micro_steps = std::max(most_micro_steps, micro_steps);
      whole.push_back(static_cast<double>(step.end_ns - step.begin_ns) / 1e9);
      for (const Phase phase : kPhases) {
        std::vector<double>& column = columns[phase];
        const auto found = step.passes.find(phase);
        const std::vector<double> passes =
            found == step.passes.end() ? std::vector<double>() : found->second;
        if (passes.size() == micro_steps) {
          column.insert(column.end(), passes.begin(), passes.end());
          continue;
        }
        const double sum = std::accumulate(passes.begin(), passes.end(), 0.0);
        column.insert(column.end(), micro_steps - 1, 0.0);
        column.push_back(sum);
      }
    }
    const std::int64_t warm_up = warm_up_steps(by_step);
    const auto add = [&](Sample sample, std::size_t per_step) {
      sample.warm_up =
          std::min(warm_up * static_cast<std::int64_t>(per_step), std::ssize(sample.figures()));
      piece.samples.push_back(std::move(sample));
    };
    for (const Phase phase : kPhases) {
      if (std::ranges::any_of(columns[phase], [](double seconds) { return seconds > 0; })) {
        add(phase_sample(step_part(phase).value(), rank, std::move(columns[phase])),
            most_micro_steps);
      }
    }
    add(step_sample(rank, std::move(whole)), 1);
  }
}

/// The collective that a phase is made of.
void add_collectives(const Steps& steps, Phase phase, MeasuredCollective kind, Piece& piece) {
  if (steps.size() < 2) {
    return;
  }
  // Step and order within it, to bytes and shortest duration.
  std::map<std::pair<std::int64_t, std::size_t>, std::pair<std::int64_t, double>> shortest;
  for (const auto& [rank, by_step] : steps) {
    for (const auto& [number, step] : by_step) {
      const auto spans = step.phases.find(phase);
      if (spans == step.phases.end()) {
        continue;
      }
      for (std::size_t i = 0; i < spans->second.size(); ++i) {
        const Span& span = *spans->second[i];
        const auto [at, fresh] =
            shortest.try_emplace({number, i}, std::pair(span.bytes, seconds_of(span)));
        if (!fresh) {
          at->second.second = std::min(at->second.second, seconds_of(span));
        }
      }
    }
  }
  std::map<std::int64_t, std::vector<double>> by_size;
  for (const auto& [key, instance] : shortest) {
    if (instance.first > 0) {
      by_size[instance.first].push_back(instance.second);
    }
  }
  for (auto& [bytes, seconds] : by_size) {
    piece.samples.push_back({.series = CollectiveSeries{.kind = kind,
                                                        .bytes = bytes,
                                                        .ranks = std::ssize(steps),
                                                        .seconds = std::move(seconds)}});
  }
}

}  // namespace

Piece read_run_directory(const fs::path& folder) {
  Piece piece{.origin = folder.string(),
              .run = fs::absolute(folder).lexically_normal().filename().string(),
              .authority = Authority::kRankClock};
  if (piece.run.empty()) {
    piece.run = fs::absolute(folder).lexically_normal().parent_path().filename().string();
  }
  std::vector<std::string> problems;
  const auto with = [&](const char* file, auto read) {
    const fs::path path = folder / file;
    if (!fs::exists(path)) {
      return;
    }
    try {
      read(path);
    } catch (const UserError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  };
  with("resolved.json", [&](const fs::path& file) { read_resolved(file, piece.facts); });
  with("report.json", [&](const fs::path& file) { read_rank_reports(file, piece); });
  with("epochs.csv", [&](const fs::path& file) { read_epochs(file, piece); });
  with("timeline.jsonl", [&](const fs::path& file) {
    const Timeline timeline = read_timeline_lines(file);
    const Steps steps = steps_of(timeline);
    add_phases(steps, piece);
    const bool scattered = piece.facts.gradient_sync == GradientSync::kFsdp ||
                           piece.facts.gradient_sync == GradientSync::kDistributedOptimizer;
    add_collectives(steps,
                    Phase::kGradientAllReduce,
                    scattered ? MeasuredCollective::kReduceScatter : MeasuredCollective::kAllReduce,
                    piece);
    add_collectives(steps, Phase::kParameterAllGather, MeasuredCollective::kAllGather, piece);
  });
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  // Where collectives hide behind compute the phases of a step add up to more than the step.
  piece.facts.wall_clock_breakdown = piece.facts.gradient_sync != GradientSync::kDdp &&
                                     piece.facts.gradient_sync != GradientSync::kFsdp;
  return piece;
}

}  // namespace vitsim
