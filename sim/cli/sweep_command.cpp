#include <algorithm>
#include <atomic>
#include <iterator>
#include <set>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <oneapi/tbb/parallel_for.h>

#include "models/document/quantity_text.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/cli/progress_meter.h"
#include "sim/predict/sweep.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kSchema = "vitsim-sweep/1";

struct SweepArguments {
  PredictionInput input;
  std::vector<std::string> vary;
  std::string shard;
  std::vector<std::filesystem::path> merge;
  std::string csv;
  ResultFiles files;
};

// "i/n", i from 1.
std::pair<std::int64_t, std::int64_t> parse_shard(const std::string& text) {
  if (text.empty()) {
    return {0, 1};
  }
  std::int64_t index = 0;
  std::int64_t count = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%ld/%ld%c", &index, &count, &rest) != 2 || index < 1 ||
      index > count) {
    throw UserError(
        fmt::format("--shard {}: write i/n with i from 1 to n, e.g. --shard 2/8", text));
  }
  return {index - 1, count};
}

OrderedJson row_json(const std::vector<VariedKey>& keys, const SweepRow& row) {
  OrderedJson json = {{"index", row.index}};
  for (std::size_t i = 0; i < keys.size(); ++i) {
    json["keys"][keys[i].key] = row.values[i];
  }
  if (!row.report) {
    json["problem"] = row.problem;
    return json;
  }
  const Report& report = *row.report;
  const auto quantity = [](const std::optional<double>& value) {
    return value ? OrderedJson(*value) : OrderedJson();
  };
  bool fits = true;
  for (const RankClassReport& ranks : report.rank_classes) {
    fits &= ranks.memory.fits;
  }
  json["gpus"] = report.world_size;
  json["steps_per_epoch"] = report.steps_per_epoch;
  json["epoch_s"] = report.epoch_s.p50;
  json["epoch_p05_s"] = quantity(report.epoch_s.p05);
  json["epoch_p95_s"] = quantity(report.epoch_s.p95);
  json["step_s"] = report.step_s.p50;
  json["total_s"] = report.total_s.p50;
  json["samples_per_s"] = report.samples_per_s;
  json["communication_share"] = report.exposed_communication_s / report.step_s.p50;
  json["wait_share"] = report.wait_s / report.step_s.p50;
  json["fits"] = fits;
  json["gpu_hours"] = quantity(report.cost ? std::optional(report.cost->gpu_hours) : std::nullopt);
  json["price"] = quantity(report.cost ? report.cost->price : std::nullopt);
  json["energy_kwh"] = quantity(report.cost ? report.cost->energy_kwh : std::nullopt);
  json["co2e_kg"] = quantity(report.cost ? report.cost->co2e_kg : std::nullopt);
  json["bottleneck"] = verdict_sentence(report);
  return json;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + "\"";
}

constexpr const char* kColumns[] = {"gpus",
                                    "steps_per_epoch",
                                    "epoch_s",
                                    "epoch_p05_s",
                                    "epoch_p95_s",
                                    "step_s",
                                    "total_s",
                                    "samples_per_s",
                                    "communication_share",
                                    "wait_share",
                                    "gpu_hours",
                                    "price",
                                    "energy_kwh",
                                    "co2e_kg",
                                    "fits",
                                    "problem"};

std::string csv_text(const OrderedJson& sweep) {
  const OrderedJson& rows = sweep["rows"];
  std::string text = "index";
  for (const auto& [key, values] : sweep["vary"].items()) {
    text += "," + csv_field(key);
  }
  for (const char* column : kColumns) {
    text += fmt::format(",{}", column);
  }
  text += "\n";
  for (const OrderedJson& row : rows) {
    text += row["index"].dump();
    for (const auto& [key, value] : row["keys"].items()) {
      text += "," + csv_field(value.get<std::string>());
    }
    for (const char* column : kColumns) {
      const auto found = row.find(column);
      const bool given = found != row.end() && !found->is_null();
      text += "," + (!given               ? std::string()
                     : found->is_string() ? csv_field(found->get<std::string>())
                                          : found->dump());
    }
    text += "\n";
  }
  return text;
}

// A figure of a run's cost; nothing where no row has one.
std::string cost_text(const OrderedJson& value) {
  return value.is_null() ? std::string("-") : fmt::format("{:.2f}", value.get<double>());
}

std::string table_text(const OrderedJson& rows) {
  using Align = TextTable::Align;
  std::vector<TextTable::Column> columns;
  for (const auto& [key, value] : rows.front()["keys"].items()) {
    // The last part of a key names it well enough for a column; blanks let its heading break.
    const auto point = key.rfind('.');
    std::string title = point == std::string::npos ? key : key.substr(point + 1);
    std::ranges::replace(title, '_', ' ');
    columns.push_back({std::move(title), Align::kLeft});
  }
  std::set<std::int64_t> gpus;
  for (const OrderedJson& row : rows) {
    if (row.contains("gpus")) {
      gpus.insert(row["gpus"].get<std::int64_t>());
    }
  }
  const bool gpus_differ = gpus.size() > 1;
  if (gpus_differ) {
    columns.push_back({"GPUs"});
  }
  const auto any = [&](const char* key) {
    return std::ranges::any_of(
        rows, [&](const OrderedJson& row) { return row.contains(key) && !row[key].is_null(); });
  };
  const bool prices = any("price");
  const bool energies = any("energy_kwh");
  // Where all runs have as many epochs the epoch tells the run.
  std::set<std::string> runs;
  for (const OrderedJson& row : rows) {
    if (row.contains("total_s")) {
      runs.insert(
          fmt::format("{:.0f}", row["total_s"].get<double>() / row["epoch_s"].get<double>()));
    }
  }
  const bool epochs_differ = runs.size() > 1;
  std::vector<TextTable::Column> figures = {{"epoch"}};
  if (epochs_differ) {
    figures.push_back({"run"});
  }
  figures.insert(figures.end(), {{"90% prediction interval"}, {"images/s"}, {"exposed"}, {"wait"}});
  if (prices) {
    figures.push_back({"price"});
  }
  if (energies) {
    figures.push_back({"kWh"});
  }
  figures.push_back({"memory", Align::kLeft});
  columns.insert(columns.end(), figures.begin(), figures.end());
  TextTable table(columns);
  const auto share = [](const OrderedJson& value) {
    return fmt::format("{:.0f} %", 100 * value.get<double>());
  };
  for (const OrderedJson& row : rows) {
    std::vector<TextCell> cells;
    for (const auto& [key, value] : row["keys"].items()) {
      cells.emplace_back(value.get<std::string>());
    }
    if (row.contains("problem")) {
      cells.resize(columns.size() - 1, TextCell("-"));
      cells.emplace_back(row["problem"].get<std::string>(), Ink::kBad);
      table.add(std::move(cells));
      continue;
    }
    Quantiles epoch{.p50 = row["epoch_s"].get<double>()};
    if (!row["epoch_p05_s"].is_null()) {
      epoch.p05 = row["epoch_p05_s"].get<double>();
      epoch.p95 = row["epoch_p95_s"].get<double>();
    }
    const bool fits = row["fits"].get<bool>();
    if (gpus_differ) {
      cells.emplace_back(fmt::format("{}", row["gpus"].get<std::int64_t>()));
    }
    cells.emplace_back(human(Seconds(epoch.p50)), Ink::kStrong);
    if (epochs_differ) {
      cells.emplace_back(human(Seconds(row["total_s"].get<double>())));
    }
    cells.insert(cells.end(),
                 {relative_interval_text(epoch),
                  fmt::format("{:.1f}", row["samples_per_s"].get<double>()),
                  share(row["communication_share"]),
                  share(row["wait_share"])});
    if (prices) {
      cells.emplace_back(cost_text(row["price"]));
    }
    if (energies) {
      cells.emplace_back(cost_text(row["energy_kwh"]));
    }
    cells.emplace_back(fits ? "fits" : "out of memory", fits ? Ink::kPlain : Ink::kBad);
    table.add(std::move(cells));
  }
  return table.text(terminal_style()) +
         "\nexposed: exposed communication; wait: straggler wait; both as a share of a step. The "
         "interval is the epoch's.\n";
}

int print_sweep(const SweepArguments& arguments, const OrderedJson& sweep) {
  const OrderedJson& rows = sweep["rows"];
  if (!arguments.csv.empty()) {
    write_output(arguments.csv, csv_text(sweep));
  }
  if (arguments.files.any()) {
    arguments.files.write(nlohmann::json(sweep));
  }
  if (!arguments.files.take_standard_output() && arguments.csv != "-") {
    fmt::print("{}",
               rows.empty() ? "This shard is empty: there are fewer configurations than shards.\n"
                            : table_text(rows));
  }
  return 0;
}

int run_merge(const SweepArguments& arguments) {
  OrderedJson merged;
  std::vector<std::string> problems;
  std::set<std::int64_t> seen;
  std::vector<OrderedJson> rows;
  for (const auto& file : arguments.merge) {
    const OrderedJson part = OrderedJson::parse(read_text(file), nullptr, false);
    if (part.is_discarded() || !part.is_object() || part.value("schema", "") != kSchema) {
      problems.push_back(
          fmt::format("{}: not a part written by `vitsim sweep --json`", file.string()));
      continue;
    }
    if (merged.is_null()) {
      merged = part;
    } else if (part["vary"] != merged["vary"] || part["resolved"] != merged["resolved"] ||
               part["configurations"] != merged["configurations"]) {
      problems.push_back(fmt::format(
          "{}: a part of another sweep than {}", file.string(), arguments.merge.front().string()));
      continue;
    }
    for (const OrderedJson& row : part["rows"]) {
      if (!seen.insert(row["index"].get<std::int64_t>()).second) {
        problems.push_back(fmt::format(
            "{}: configuration {} is in another part already", file.string(), row["index"].dump()));
        break;
      }
      rows.push_back(row);
    }
  }
  if (problems.empty() &&
      static_cast<std::int64_t>(rows.size()) != merged["configurations"].get<std::int64_t>()) {
    problems.push_back(fmt::format("{} of {} configurations are there: a part is missing",
                                   rows.size(),
                                   merged["configurations"].dump()));
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  std::ranges::sort(
      rows, {}, [](const OrderedJson& row) { return row["index"].get<std::int64_t>(); });
  merged["rows"] = rows;
  return print_sweep(arguments, merged);
}

int run_sweep(const SweepArguments& arguments) {
  if (arguments.files.take_standard_output() && arguments.csv == "-") {
    throw UserError(
        fmt::format("--{} and --csv both write to standard output: name a file for one of them",
                    arguments.files.json == "-" ? "json" : "html"));
  }
  if (!arguments.merge.empty()) {
    return run_merge(arguments);
  }
  if (arguments.input.file.empty() || arguments.vary.empty()) {
    throw UserError("name a FILE and at least one --vary KEY=V1,V2,..., or parts to --merge");
  }
  const ThreadLimit limit(arguments.input.threads);
  std::vector<VariedKey> keys;
  OrderedJson vary;
  for (const std::string& text : arguments.vary) {
    keys.push_back(parse_varied_key(text));
    vary[keys.back().key] = keys.back().values;
  }
  const auto [shard, shards] = parse_shard(arguments.shard);
  std::vector<SweepRow> rows = sweep_rows(keys, shard, shards);
  const std::string file_text = read_text(arguments.input.file);
  const std::vector<Override> settings = arguments.input.overrides();
  // The file itself must be sound; a configuration that is not says so in its row.
  const Experiment base = experiment_from_text(file_text, arguments.input.file, settings);
  const ProfileLibrary library(base.profiles);
  const PredictOptions options{
      .replicates = arguments.input.replicates, .seed = arguments.input.seed, .gains = false};
  ProgressMeter meter("predicting configurations");
  std::atomic<std::size_t> done = 0;
  oneapi::tbb::parallel_for(std::size_t{0}, rows.size(), [&](std::size_t i) {
    meter.progress()(done++, rows.size());
    SweepRow& row = rows[i];
    std::vector<Override> overrides = settings;
    std::ranges::copy(overrides_of(keys, row), std::back_inserter(overrides));
    try {
      const Experiment experiment =
          experiment_from_text(file_text, arguments.input.file, overrides);
      row.report =
          predict(resolve(experiment, load_profiles(experiment, library)), options).front();
    } catch (const UserError& error) {
      row.problem = error.problems().front();
    }
  });
  const auto failed = std::ranges::count_if(rows, [](const SweepRow& row) { return !row.report; });
  if (failed == static_cast<std::ptrdiff_t>(rows.size()) && !rows.empty()) {
    throw UserError(rows.front().problem);
  }
  std::int64_t configurations = 1;
  for (const VariedKey& key : keys) {
    configurations *= static_cast<std::int64_t>(key.values.size());
  }
  OrderedJson sweep = {{"schema", kSchema},
                       {"vary", vary},
                       {"configurations", configurations},
                       {"resolved", OrderedJson::parse(resolved_text(base, options))},
                       {"rows", OrderedJson::array()}};
  for (const SweepRow& row : rows) {
    sweep["rows"].push_back(row_json(keys, row));
  }
  return print_sweep(arguments, sweep);
}

}  // namespace

void add_sweep_command(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("sweep", "Predict every combination of the values of some keys");
  auto arguments = std::make_shared<SweepArguments>();
  add_prediction_input(*command, arguments->input);
  command->get_option("FILE")->required(false);
  command->add_option("--vary", arguments->vary, "A key and its values; may be given several times")
      ->type_name("KEY=V1,V2,...")
      ->allow_extra_args(false);
  command->add_option("--shard", arguments->shard, "Only the i-th of n parts, for job arrays")
      ->type_name("i/n");
  command->add_option("--merge", arguments->merge, "Join the parts written by --shard ... --json")
      ->type_name("PARTS");
  command->add_option("--csv", arguments->csv, "Write the rows as CSV; - for standard output")
      ->type_name("FILE");
  add_result_files(*command, arguments->files, "rows");
  command->footer(
      "Examples:\n"
      "  vitsim sweep configs/cluster/tesla-4gpu.json --vary training.micro_batch_per_gpu=8,16,32 "
      "--vary training.gradient_accumulation_steps=1,2,4 --csv sweep.csv\n"
      "  vitsim sweep FILE --vary training.epochs=1,2,3,4 --shard 1/2 --json part1.json\n"
      "  vitsim sweep --merge part1.json part2.json --csv all.csv");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_sweep(*arguments); }; });
}

}  // namespace vitsim
