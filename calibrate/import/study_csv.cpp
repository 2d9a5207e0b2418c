#include "calibrate/import/study_csv.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "models/error.h"
#include "models/experiment/limits.h"

namespace vitsim {

namespace {

constexpr double kMebibyte = 1024.0 * 1024.0;

/// What the study did in every run and no table repeats.
void state_study(RunFacts& facts) {
  facts.model = vit_variant("vit-b-16");
  facts.optimizer = OptimizerKind::kAdamW;
  facts.gradient_sync = GradientSync::kDeepspeedZero0;
  facts.accumulation = 1;
}

[[noreturn]] void refuse(const CsvTable& table) {
  throw UserError(table.problems);
}

void hand_over(CsvTable& table, std::vector<std::string>& warnings) {
  if (!table.problems.empty()) {
    refuse(table);
  }
  warnings.insert(warnings.end(), table.warnings.begin(), table.warnings.end());
}

/// Numbers joined by ';', each above `least`; a problem for each that is not.
std::vector<double> number_list(CsvTable& table, std::string_view column, double above) {
  std::vector<double> values;
  for (const std::string& part : split_list(table.text(column), ';')) {
    const std::optional<double> value = parse_number(part);
    if (!value || *value <= above) {
      table.problem(fmt::format("{}: \"{}\" is not a number above {}", column, part, above));
      continue;
    }
    values.push_back(*value);
  }
  return values;
}

/// The study ran both kinds of node of the cluster "vector": networks differ by GPU.
std::string cluster_name(const std::string& cluster, bool one_node, const std::string& gpu) {
  if (!one_node) {
    return cluster;
  }
  const std::size_t dash = gpu.rfind('-');
  return cluster + "-" + (dash == std::string::npos ? gpu : gpu.substr(dash + 1));
}

std::optional<Precision> precision_of(std::string fp16, bool& inferred) {
  inferred = fp16.ends_with('?');
  if (inferred) {
    fp16.pop_back();
  }
  if (fp16 == "True") {
    return Precision::kFp16;
  }
  return fp16 == "False" ? std::optional(Precision::kFp32) : std::nullopt;
}

Piece read_run(CsvTable& table) {
  Piece piece{
      .origin = table.origin(), .run = table.text("run"), .authority = Authority::kRunTable};
  if (piece.run.empty()) {
    table.problem("run: the name is empty");
  }
  RunFacts& facts = piece.facts;
  state_study(facts);
  for (const std::string& gpu : split_list(table.text("gpus"), ';')) {
    facts.gpus.push_back(gpu_slug(gpu));
  }
  facts.world_size = table.integer("world_size", 1);
  if (facts.world_size && *facts.world_size != std::ssize(facts.gpus)) {
    table.problem(fmt::format(
        "world_size {} does not agree with {} GPUs", *facts.world_size, facts.gpus.size()));
  }
  facts.one_node = table.text("placement").find("one node") != std::string::npos;
  facts.cluster = cluster_name(
      table.text("cluster"), *facts.one_node, facts.gpus.empty() ? "" : facts.gpus.front());
  facts.samples = table.integer("samples_per_epoch", 1);
  if (const auto batch = table.integer("micro_batch_per_gpu", 1)) {
    facts.micro_batch = {*batch};
  }
  facts.precision = precision_of(table.text("fp16"), facts.precision_inferred);
  if (!facts.precision) {
    table.problem(
        fmt::format("fp16: \"{}\" is none of True, False, True?, False?", table.text("fp16")));
  }
  facts.epochs = table.integer("epochs", 1);
  // Only what printed its phases is known to have synchronised the GPU between them. The runs with
  // one sample per micro-batch are known not to have.
  facts.wall_clock_breakdown =
      table.text("has_step_phases") == "1" || facts.micro_batch != std::vector<std::int64_t>{1};

  EpochSeries epochs{.seconds = number_list(table, "epoch_seconds", 0)};
  if (facts.epochs && std::ssize(epochs.seconds) != *facts.epochs) {
    table.problem(fmt::format(
        "epoch_seconds has {} times for {} epochs", epochs.seconds.size(), *facts.epochs));
  }
  const std::size_t epoch_count = epochs.seconds.size();
  piece.samples.push_back({.series = std::move(epochs)});

  const std::vector<double> memory = number_list(table, "gpu_used_mb_per_rank", 0);
  if (!memory.empty() && memory.size() != facts.gpus.size()) {
    table.problem(fmt::format(
        "gpu_used_mb_per_rank has {} figures for {} GPUs", memory.size(), facts.gpus.size()));
  }
  for (std::size_t rank = 0; rank < memory.size(); ++rank) {
    piece.samples.push_back({.series = MemoryReading{.rank = static_cast<std::int64_t>(rank),
                                                     .bytes = {memory[rank] * kMebibyte}}});
  }
  if (table.has("loss") && split_list(table.text("loss"), ';').size() > epoch_count) {
    piece.warnings.push_back(fmt::format(
        "{}:{}: {} holds more losses than epochs: an aborted run precedes the whole one",
        table.origin(),
        table.line(),
        piece.run));
  }
  return piece;
}

}  // namespace

std::vector<Piece> read_run_table(std::istream& stream, const std::string& origin) {
  CsvTable table(stream, origin);
  if (!table.require({"run",
                      "cluster",
                      "placement",
                      "world_size",
                      "gpus",
                      "samples_per_epoch",
                      "micro_batch_per_gpu",
                      "fp16",
                      "epochs",
                      "epoch_seconds",
                      "gpu_used_mb_per_rank",
                      "has_step_phases"})) {
    refuse(table);
  }
  std::vector<Piece> pieces;
  std::set<std::string> names;
  while (table.next()) {
    pieces.push_back(read_run(table));
    if (!names.insert(pieces.back().run).second) {
      table.problem(fmt::format("run \"{}\" is there twice", pieces.back().run));
    }
  }
  std::vector<std::string> warnings;
  hand_over(table, warnings);
  if (pieces.empty()) {
    throw UserError(fmt::format("{}: no run in it", origin));
  }
  pieces.front().warnings.insert(pieces.front().warnings.end(), warnings.begin(), warnings.end());
  return pieces;
}

Piece read_step_table(std::istream& stream, const std::string& origin, const std::string& run) {
  static constexpr std::array<std::pair<std::string_view, StepPart>, 5> kColumns = {
      {{"forward_ms", StepPart::kForward},
       {"backward_ms", StepPart::kBackward},
       {"backward_compute_ms", StepPart::kBackwardCompute},
       {"allreduce_ms", StepPart::kGradientAllReduce},
       {"optimizer_ms", StepPart::kOptimizer}}};
  CsvTable table(stream, origin);
  bool complete = table.require({"rank"});
  for (const auto& [column, what] : kColumns) {
    complete = table.require({column}) && complete;
  }
  if (!complete) {
    refuse(table);
  }
  std::map<std::int64_t, std::array<std::vector<double>, kColumns.size()>> by_rank;
  while (table.next()) {
    const std::optional<std::int64_t> rank = table.integer("rank");
    if (!rank) {
      continue;
    }
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
      if (const auto value = table.number(kColumns[i].first)) {
        by_rank[*rank][i].push_back(*value / 1e3);
      }
    }
  }
  Piece piece{.origin = origin, .run = run, .authority = Authority::kStepTable};
  hand_over(table, piece.warnings);
  for (auto& [rank, columns] : by_rank) {
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
      piece.samples.push_back(phase_sample(kColumns[i].second, rank, std::move(columns[i])));
    }
  }
  if (piece.samples.empty()) {
    throw UserError(fmt::format("{}: no step in it", origin));
  }
  piece.facts.wall_clock_breakdown = true;
  return piece;
}

Piece read_epoch_table(std::istream& stream, const std::string& origin, const std::string& run) {
  CsvTable table(stream, origin);
  if (!table.require({"Rank", "Epoch", "Computation_Time", "GPU_ID", "GPU_Name"})) {
    refuse(table);
  }
  const bool has_memory = table.has("GPU_Used_Mem_MB");
  std::map<std::int64_t, std::map<std::int64_t, double>> seconds;    // epoch, rank
  std::map<std::int64_t, std::map<std::int64_t, std::string>> gpus;  // rank, index on its machine
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<double>> memory;
  while (table.next()) {
    const auto rank = table.integer("Rank");
    if (rank && *rank >= kMostRanks) {
      table.problem(fmt::format("Rank: {} is beyond every cluster", *rank));
    }
    const auto epoch = table.integer("Epoch");
    const auto time = table.number("Computation_Time");
    const auto index = table.integer("GPU_ID");
    if (!rank || !epoch || !time || !index) {
      continue;
    }
    seconds[*epoch][*rank] = *time;
    gpus[*rank][*index] = gpu_slug(table.text("GPU_Name"));
    if (has_memory) {
      if (const auto used = table.number("GPU_Used_Mem_MB")) {
        memory[{*rank, *index}].push_back(*used * kMebibyte);
      }
    }
  }
  Piece piece{.origin = origin, .run = run, .authority = Authority::kEpochTable};
  hand_over(table, piece.warnings);
  if (gpus.empty()) {
    throw UserError(fmt::format("{}: no epoch in it", origin));
  }

  const std::int64_t world = gpus.rbegin()->first + 1;
  piece.facts.world_size = world;
  EpochSeries epochs;
  for (const auto& [epoch, by_rank] : seconds) {
    if (std::ssize(by_rank) < world) {
      // The ranks meet at every AllReduce: any of them tells an epoch's length.
      piece.warnings.push_back(fmt::format(
          "{}: epoch {} has times of {} of {} ranks", origin, epoch, by_rank.size(), world));
    }
    epochs.seconds.push_back(std::ranges::max_element(by_rank, {}, [](const auto& entry) {
                               return entry.second;
                             })->second);
  }
  piece.facts.epochs = std::ssize(epochs.seconds);
  piece.samples.push_back({.series = std::move(epochs)});

  // Where every rank lists the same several GPUs they share a machine, and rank i uses GPU i.
  const bool one_node = world > 1 && std::ranges::all_of(gpus, [&](const auto& entry) {
                          return std::ssize(entry.second) >= world;
                        });
  if (world > 1) {
    piece.facts.one_node = one_node;
  }
  for (const auto& [rank, listed] : gpus) {
    const auto own = one_node ? listed.find(rank) : listed.begin();
    piece.facts.gpus.push_back(own == listed.end() ? listed.begin()->second : own->second);
    const auto used = memory.find({rank, own == listed.end() ? 0 : own->first});
    if (used != memory.end()) {
      piece.samples.push_back({.series = MemoryReading{.rank = rank, .bytes = used->second}});
    }
  }
  if (std::ssize(piece.facts.gpus) != world) {
    piece.facts.gpus.clear();
    piece.warnings.push_back(fmt::format("{}: some of {} ranks are missing", origin, world));
  }
  return piece;
}

Piece read_throughput_table(std::istream& stream, const std::string& origin) {
  CsvTable table(stream, origin);
  if (!table.require({"gpu",
                      "torch",
                      "what",
                      "precision",
                      "model",
                      "layers",
                      "width",
                      "heads",
                      "mlp",
                      "patch",
                      "image_size",
                      "classes",
                      "optimizer",
                      "batch",
                      "step_ms"})) {
    refuse(table);
  }
  Piece piece{.origin = origin, .authority = Authority::kRunTable};
  while (table.next()) {
    PassSeries pass{.gpu = table.text("gpu"),
                    .optimizer = table.text("optimizer"),
                    .torch = table.text("torch")};
    pass.model.name = table.text("model");
    if (table.text("what") == "forward") {
      pass.kind = PassSeries::Kind::kForward;
    } else if (table.text("what") != "train_step") {
      table.problem(
          fmt::format("what: \"{}\" is neither forward nor train_step", table.text("what")));
    }
    if (const auto precision = precision_from_name(table.text("precision"))) {
      pass.precision = *precision;
    } else {
      table.problem(fmt::format("precision: \"{}\" is unknown", table.text("precision")));
    }
    const auto read = [&](std::string_view column, std::int64_t& value) {
      value = table.integer(column, 1).value_or(value);
    };
    read("layers", pass.model.layers);
    read("width", pass.model.width);
    read("heads", pass.model.heads);
    read("mlp", pass.model.mlp);
    read("patch", pass.model.patch);
    read("image_size", pass.model.image_size);
    read("batch", pass.batch);
    pass.classes = table.integer("classes", 1);
    if (const auto milliseconds = table.number("step_ms")) {
      pass.seconds = {*milliseconds / 1e3};
    }
    piece.samples.push_back({.series = std::move(pass)});
  }
  hand_over(table, piece.warnings);
  if (piece.samples.empty()) {
    throw UserError(fmt::format("{}: no measurement in it", origin));
  }
  return piece;
}

}  // namespace vitsim
