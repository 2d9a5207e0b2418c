#include "calibrate/import/join.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "calibrate/import/rank_csv.h"
#include "models/error.h"
#include "models/experiment/deepspeed_config.h"
#include "models/experiment/limits.h"

namespace vitsim {

namespace {

/// What a sample of a run is about: its kind, rank and further parameters.
using Subject =
    std::tuple<std::string, std::map<std::string, double>, std::map<std::string, std::string>>;

Subject subject(const Sample& sample) {
  PlainSample form = plain(sample);
  return {std::move(form.what), std::move(form.number), std::move(form.text)};
}

std::string folder_name(const std::string& origin) {
  return std::filesystem::path(origin).parent_path().filename().string();
}

/// Runs of which two pieces of equal authority describe the same thing.
std::set<std::string> ambiguous_runs(const std::vector<Piece>& pieces,
                                     std::vector<std::string>* problems) {
  std::map<std::tuple<std::string, Authority, Subject>, std::string> origins;
  std::set<std::string> ambiguous;
  for (const Piece& piece : pieces) {
    if (piece.run.empty()) {
      continue;
    }
    for (const Sample& sample : piece.samples) {
      const auto [at, fresh] =
          origins.emplace(std::tuple(piece.run, piece.authority, subject(sample)), piece.origin);
      if (!fresh && at->second != piece.origin && ambiguous.insert(piece.run).second &&
          problems != nullptr) {
        problems->push_back(fmt::format("{}: describes the same run \"{}\" as {}: rename one",
                                        piece.origin,
                                        piece.run,
                                        at->second));
      }
    }
  }
  return ambiguous;
}

void tell_apart(std::vector<Piece>& pieces) {
  const std::set<std::string> ambiguous = ambiguous_runs(pieces, nullptr);
  for (Piece& piece : pieces) {
    const std::string folder = folder_name(piece.origin);
    if (ambiguous.contains(piece.run) && !folder.empty()) {
      piece.run = folder + "/" + piece.run;
      if (!piece.start_of.empty()) {
        piece.start_of = folder + "/" + piece.start_of;
      }
    }
  }
  std::vector<std::string> problems;
  ambiguous_runs(pieces, &problems);
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
}

/// The configuration beside a log with several starts is that of all of them.
void share_configurations(std::vector<Piece>& pieces) {
  std::vector<Piece> copies;
  for (const Piece& configuration : pieces) {
    if (!configuration.deepspeed_config) {
      continue;
    }
    for (const Piece& start : pieces) {
      if (start.start_of == configuration.run && start.run != configuration.run) {
        copies.push_back(configuration);
        copies.back().run = start.run;
      }
    }
  }
  std::ranges::move(copies, std::back_inserter(pieces));
}

void add_environment(Measurement& measurement, const std::map<std::string, std::string>& more) {
  for (const auto& [key, value] : more) {
    std::string& known = measurement.environment[key];
    if (known.empty()) {
      known = value;
    } else if ((", " + known + ", ").find(", " + value + ", ") == std::string::npos) {
      known += ", " + value;
    }
  }
}

/// AllReduces measured alone belong to the network that the user names, and cross a machine's
/// inside or what is between machines.
void name_links(Piece& piece, const ImportHints& hints) {
  for (Sample& sample : piece.samples) {
    auto* collective = sample.as<CollectiveSeries>();
    if (collective == nullptr) {
      continue;
    }
    if (!collective->one_node) {
      collective->one_node = hints.one_node;
    }
    if (hints.cluster && collective->link.empty()) {
      collective->link =
          link_name({.cluster = *hints.cluster, .one_node = collective->one_node.value_or(false)});
    }
  }
}

/// One run being put together from its pieces.
class RunJoiner {
 public:
  RunJoiner(std::string name, const ImportHints& hints, std::vector<std::string>& warnings)
      : hints_(hints), warnings_(warnings) {
    run_.name = std::move(name);
  }

  void add(Piece piece) { pieces_.push_back(std::move(piece)); }

  /// The samples, after `run()` is complete.
  std::vector<Sample> take_samples() { return std::move(samples_); }

  const RecordedRun& join() {
    std::ranges::stable_sort(pieces_, {}, &Piece::authority);
    for (const Piece& piece : pieces_) {
      facts_.complete_with(piece.facts);
    }
    const std::int64_t world = stated_world_size();
    read_configuration(world);
    collect_samples();
    set_gpus(static_cast<std::size_t>(std::clamp<std::int64_t>(world, 1, kMostRanks)));
    set_model();
    set_batch();
    if (!missing_.empty()) {
      warn(fmt::format("no file tells its {}", fmt::join(missing_, ", ")));
    }
    run_.cluster = facts_.cluster.value_or(hints_.cluster.value_or(""));
    run_.one_node = facts_.one_node.value_or(hints_.one_node.value_or(false));
    run_.link = facts_.link.value_or("");
    run_.optimizer = facts_.optimizer.value_or(OptimizerKind::kAdamW);
    run_.gradient_sync = facts_.gradient_sync.value_or(GradientSync::kDeepspeedZero0);
    run_.epochs = facts_.epochs.value_or(0);
    run_.samples = facts_.samples.value_or(hints_.samples.value_or(0));
    run_.wall_clock_breakdown = facts_.wall_clock_breakdown.value_or(true);
    return run_;
  }

 private:
  void warn(const std::string& text) {
    warnings_.push_back(fmt::format("run {}: {}", run_.name, text));
  }

  void collect_samples() {
    run_.accumulation = facts_.accumulation.value_or(1);
    std::set<Subject> taken;
    for (Piece& piece : pieces_) {
      if (piece.by_micro_step) {
        group_micro_steps(piece, run_.accumulation);
      }
      for (Sample& sample : piece.samples) {
        if (taken.insert(subject(sample)).second) {
          sample.run = run_.name;
          samples_.push_back(std::move(sample));
        }
      }
    }
  }

  /// By what is stated, or by the ranks that measured; 0: unknown.
  [[nodiscard]] std::int64_t stated_world_size() const {
    std::int64_t world = facts_.world_size.value_or(std::ssize(facts_.gpus));
    for (const Piece& piece : pieces_) {
      for (const Sample& sample : piece.samples) {
        if (const auto rank = sample.rank(); rank && *rank < kMostRanks) {
          world = std::max(world, *rank + 1);
        }
      }
    }
    return world;
  }

  void read_configuration(std::int64_t world) {
    for (const Piece& piece : pieces_) {
      if (!piece.deepspeed_config) {
        continue;
      }
      Problems problems;
      const DeepspeedConfig config = deepspeed_config_from_text(
          *piece.deepspeed_config, piece.origin, world, problems, warnings_);
      problems.throw_if_any();
      RunFacts stated;
      if (config.micro_batch) {
        stated.micro_batch = {config.micro_batch->value};
      }
      if (config.accumulation) {
        stated.accumulation = config.accumulation->value;
      }
      if (config.precision) {
        stated.precision = config.precision->value;
      } else if (!config.open_precision) {
        stated.precision = Precision::kFp32;
      }
      if (config.gradient_sync) {
        stated.gradient_sync = config.gradient_sync->value;
      }
      if (config.optimizer.kind) {
        stated.optimizer = config.optimizer.kind->value;
      }
      facts_.complete_with(stated);
    }
  }

  void set_gpus(std::size_t ranks) {
    run_.gpus = facts_.gpus;
    if (run_.gpus.empty()) {
      run_.gpus = hints_.gpus.size() == 1 ? std::vector(ranks, hints_.gpus.front()) : hints_.gpus;
    }
    if (run_.gpus.size() != ranks) {
      if (run_.gpus.empty()) {
        missing_.emplace_back("GPUs (--gpus)");
      } else {
        warn(fmt::format("{} GPUs are named for {} ranks: not taken", run_.gpus.size(), ranks));
      }
      run_.gpus.assign(ranks, std::string(kUnknown));
    }
  }

  void set_model() {
    std::optional<VitSpec> model = facts_.model ? facts_.model : hints_.model;
    if (!model && facts_.parameters) {
      for (const VitSpec& variant : vit_variants()) {
        if (parameter_count(variant) == *facts_.parameters) {
          model = variant;
        }
      }
    }
    if (!model) {
      run_.model.name = kUnknown;
      missing_.emplace_back("model (--model, --like)");
      return;
    }
    run_.model = *model;
    if (!facts_.model && is_another_model(run_.model)) {
      warn(fmt::format("{} was given and has {} parameters, the log says {}: not taken",
                       run_.model.name,
                       parameter_count(run_.model),
                       *facts_.parameters));
      run_.model = {.name = std::string(kUnknown)};
    } else if (facts_.parameters && parameter_count(run_.model) != *facts_.parameters) {
      warn(fmt::format("{} has {} parameters, the log says {}",
                       run_.model.name,
                       parameter_count(run_.model),
                       *facts_.parameters));
    }
  }

  /// Whether the log counts other parameters than the model has, beyond what the number of classes
  /// changes.
  [[nodiscard]] bool is_another_model(const VitSpec& model) const {
    constexpr double kClasses = 0.03;
    if (!facts_.parameters) {
      return false;
    }
    const auto own = static_cast<double>(parameter_count(model));
    return std::abs(own / static_cast<double>(*facts_.parameters) - 1) > kClasses;
  }

  void set_batch() {
    run_.micro_batch = facts_.micro_batch;
    if (run_.micro_batch.empty()) {
      run_.micro_batch = hints_.micro_batch;
    }
    if (run_.micro_batch.empty()) {
      missing_.emplace_back("micro-batch (--micro-batch)");
    }
    run_.precision = facts_.precision.value_or(hints_.precision.value_or(Precision::kFp32));
    run_.precision_inferred = facts_.precision ? facts_.precision_inferred : !hints_.precision;
    if (!facts_.precision && !hints_.precision) {
      missing_.emplace_back("precision (--precision; fp32 is assumed)");
    }
  }

  const ImportHints& hints_;
  std::vector<std::string>& warnings_;
  std::vector<Piece> pieces_;
  RunFacts facts_;
  std::vector<std::string> missing_;  // what no file and no hint tells
  RecordedRun run_;
  std::vector<Sample> samples_;
};

}  // namespace

Measurement join(std::vector<Piece> pieces, const ImportHints& hints) {
  tell_apart(pieces);
  share_configurations(pieces);
  Measurement measurement{.device = "imported"};
  std::map<std::string, RunJoiner> runs;
  std::vector<std::string> order;
  for (Piece& piece : pieces) {
    measurement.warnings.insert(
        measurement.warnings.end(), piece.warnings.begin(), piece.warnings.end());
    add_environment(measurement, piece.environment);
    if (piece.run.empty()) {
      name_links(piece, hints);
      std::ranges::move(piece.samples, std::back_inserter(measurement.samples));
      continue;
    }
    const std::string name = piece.run;
    const auto [at, fresh] = runs.try_emplace(name, name, hints, measurement.warnings);
    if (fresh) {
      order.push_back(name);
    }
    at->second.add(std::move(piece));
  }
  for (const std::string& name : order) {
    RunJoiner& joiner = runs.at(name);
    const std::size_t warnings = measurement.warnings.size();
    RecordedRun run = joiner.join();
    std::vector<Sample> samples = joiner.take_samples();
    if (run.gradient_sync == GradientSync::kDeepspeedZero3 && !samples.empty()) {
      measurement.warnings.resize(warnings);
      measurement.warnings.push_back(
          fmt::format("run {}: ZeRO stage 3 gathers weights inside forward and backward, so its "
                      "timers do not tell compute from communication; left out",
                      name));
      continue;
    }
    if (samples.empty()) {
      measurement.warnings.resize(warnings);
      measurement.warnings.push_back(
          fmt::format("run {}: nothing was measured in its files, left out", name));
      continue;
    }
    measurement.runs.push_back(std::move(run));
    std::ranges::move(samples, std::back_inserter(measurement.samples));
  }
  return measurement;
}

namespace {

std::vector<std::vector<double>> values_of(const Measurement& measurement, const std::string& run) {
  std::vector<std::vector<double>> values;
  for (const Sample& sample : measurement.samples) {
    if (sample.run == run) {
      const std::span<const double> figures = sample.figures();
      values.emplace_back(figures.begin(), figures.end());
    }
  }
  return values;
}

// A device that is measured again makes runs of the same names. None where `taken` holds this very
// run.
std::optional<std::string> free_name(const Measurement& measurement,
                                     const std::string& run,
                                     const Measurement& taken) {
  const auto values = values_of(measurement, run);
  std::string name = run;
  const auto is_free = [&] {
    return taken.find_run(name) == nullptr &&
           (name == run || measurement.find_run(name) == nullptr);
  };
  for (int i = 2; !is_free(); ++i) {
    if (taken.find_run(name) != nullptr && values_of(taken, name) == values) {
      return std::nullopt;
    }
    name = fmt::format("{} ({})", run, i);
  }
  return name;
}

}  // namespace

void append(Measurement& to, Measurement from) {
  add_devices(to, from.devices);
  if (to.samples.empty() && to.runs.empty()) {
    to.device = from.device;
  }
  std::vector<std::string> problems;
  for (RecordedRun& run : from.runs) {
    const auto name = free_name(from, run.name, to);
    if (!name) {
      problems.push_back(fmt::format("run \"{}\" is in two measurements", run.name));
      continue;
    }
    for (Sample& sample : from.samples) {
      if (sample.run == run.name) {
        sample.run = *name;
      }
    }
    run.name = *name;
    to.runs.push_back(std::move(run));
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  std::ranges::move(from.samples, std::back_inserter(to.samples));
  std::ranges::move(from.warnings, std::back_inserter(to.warnings));
  add_environment(to, from.environment);
}

}  // namespace vitsim
