#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/fit/collective_tables.h"
#include "calibrate/fit/fit.h"
#include "calibrate/import/describe.h"
#include "calibrate/import/import.h"
#include "calibrate/profile/library.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/experiment.h"
#include "sim/assess/calibration_check.h"
#include "sim/assess/validation_history.h"
#include "sim/cli/command.h"
#include "sim/cli/progress_meter.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

struct ImportArguments {
  std::vector<std::filesystem::path> files;
  std::string cluster;
  std::vector<std::string> gpus;
  std::string model;
  std::string precision;
  std::vector<std::int64_t> micro_batch;
  std::int64_t samples = 0;
  std::int64_t ranks = 0;
  bool one_node = false;
  std::filesystem::path like;  // cluster file that the runs followed
};

/// A profile's name becomes that of its file: it must stay in its folder.
void check_part_name(const std::string& part, const std::string& what) {
  const bool printed = printable(part) == part && part.find_first_of("\n\t") == std::string::npos;
  if (part.empty() || part.front() == '.' || !printed ||
      part.find_first_of("/\\") != std::string::npos) {
    throw UserError(
        fmt::format("{} {} cannot be the name of a profile: use letters, digits, '-', '_' and '.'",
                    what,
                    in_quotes(part)));
  }
}

ImportHints hints_of(const ImportArguments& arguments) {
  for (const std::string& gpu : arguments.gpus) {
    check_part_name(gpu, "--gpus:");
  }
  if (!arguments.cluster.empty()) {
    check_part_name(arguments.cluster, "--cluster:");
  }
  ImportHints hints{.gpus = arguments.gpus, .micro_batch = arguments.micro_batch};
  if (!arguments.like.empty()) {
    const Experiment experiment = read_experiment(arguments.like, {{"profiles", "[]"}});
    const TrainingSpec& training = experiment.training;
    hints.model = training.model;
    hints.precision = training.precision;
    if (hints.micro_batch.empty() && training.micro_batch.size() == 1) {
      hints.micro_batch = training.micro_batch;
    }
  }
  if (!arguments.cluster.empty()) {
    hints.cluster = arguments.cluster;
  }
  if (!arguments.model.empty()) {
    hints.model = vit_variant(arguments.model);
    if (!hints.model) {
      std::vector<std::string> known;
      for (const VitSpec& variant : vit_variants()) {
        known.push_back(variant.name);
      }
      throw UserError(fmt::format("--model: unknown model {}{}",
                                  in_quotes(arguments.model),
                                  did_you_mean(arguments.model, known)));
    }
  }
  if (!arguments.precision.empty()) {
    hints.precision = precision_from_name(arguments.precision);
    if (!hints.precision) {
      throw UserError(fmt::format("--precision: unknown precision {}{}",
                                  in_quotes(arguments.precision),
                                  did_you_mean(arguments.precision, words(kPrecisionNames))));
    }
  }
  if (arguments.samples > 0) {
    hints.samples = arguments.samples;
  }
  if (arguments.ranks > 0) {
    hints.ranks = arguments.ranks;
  }
  if (arguments.one_node) {
    hints.one_node = true;
  }
  return hints;
}

void add_import_arguments(CLI::App& command, ImportArguments& arguments) {
  command
      .add_option("FILES",
                  arguments.files,
                  "Logs, tables, traces, run directories, measurements, or folders of them")
      ->required();
  command.add_option("--cluster", arguments.cluster, "Cluster of files that do not name it");
  command.add_option("--gpus", arguments.gpus, "Names of the GPUs by rank, or one name for all")
      ->delimiter(',');
  command.add_option("--model", arguments.model, "Model of logs that do not name it");
  command.add_option("--precision", arguments.precision, "Precision of logs that do not name it");
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  whole_number(
      *command.add_option("--micro-batch", arguments.micro_batch, "Micro-batch, or one by rank")
           ->delimiter(','),
      1,
      kMost);
  whole_number(*command.add_option("--samples", arguments.samples, "Samples per epoch"), 1, kMost);
  whole_number(
      *command.add_option("--ranks", arguments.ranks, "Ranks of an AllReduce table"), 1, kMost);
  command
      .add_option("--like",
                  arguments.like,
                  "Cluster file whose training section tells what the logs do not: any model, "
                  "precision, micro-batch")
      ->type_name("FILE");
  command.add_flag("--one-node", arguments.one_node, "All GPUs are inside one machine");
}

Measurement read(const ImportArguments& arguments) {
  Measurement measurement = import_files(arguments.files, hints_of(arguments));
  for (const std::string& warning : measurement.warnings) {
    fmt::print(stderr, "vitsim: warning: {}\n", printable(warning));
  }
  return measurement;
}

FitOptions fit_options(const Measurement& measurement) {
  FitOptions options;
  const ProfileLibrary library;
  const auto add = [&](const std::string& gpu) {
    if (!options.sheets.contains(gpu)) {
      if (auto sheet = library.sheet(gpu)) {
        options.sheets.emplace(gpu, std::move(*sheet));
      }
    }
  };
  for (const RecordedRun& run : measurement.runs) {
    std::ranges::for_each(run.gpus, add);
  }
  for (const Sample& sample : measurement.samples) {
    if (!sample.gpu().empty()) {
      add(std::string(sample.gpu()));
    }
  }
  const std::time_t now = std::time(nullptr);
  options.created = fmt::format("{:%Y-%m-%d}", fmt::gmtime(now));
  return options;
}

int run_import(const ImportArguments& arguments, const std::string& out) {
  const Measurement measurement = read(arguments);
  write_measurement(out, measurement);
  std::size_t values = 0;
  for (const Sample& sample : measurement.samples) {
    values += sample.figures().size();
  }
  fmt::print("{}\n", printable(describe(measurement)));
  fmt::print("{}: {} runs, {} series, {} values\n",
             out,
             measurement.runs.size(),
             measurement.samples.size(),
             values);
  fmt::print("Next: vitsim calibrate fit {}\n", out);
  return 0;
}

std::string sigma_text(const std::optional<double>& sigma) {
  return sigma ? fmt::format("{:.2f} %", 100 * *sigma) : "-";
}

std::string error_text(const FitQuality& quality) {
  return quality.runs > 0 ? fmt::format("{:.2f} %", 100 * quality.mean_abs_error) : "-";
}

// What the profile in `file` was measured on; empty where nobody knows.
std::string recorded_device(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) {
    return {};
  }
  try {
    return read_gpu_profile(file).device_name;
  } catch (const UserError&) {
    return {};  // broken, or no GPU's: to be replaced
  }
}

void check_part_names(const Calibration& calibration) {
  for (const auto& [gpu, profile] : calibration.gpus) {
    check_part_name(gpu, "GPU");
  }
  for (const auto& [link, profile] : calibration.links) {
    check_part_name(link, "network");
  }
}

// A profile of another device must not be lost to one of the same name.
void keep_other_devices(const Calibration& calibration, const std::filesystem::path& out) {
  std::vector<std::string> problems;
  for (const auto& [gpu, profile] : calibration.gpus) {
    const std::filesystem::path file = out / (gpu + ".json");
    const std::string known = recorded_device(file);
    const std::string& device = profile.device_name;
    if (!known.empty() && !device.empty() && !is_device(device, known) &&
        !is_device(known, device)) {
      problems.push_back(
          fmt::format("{}: is the profile of {}, this measurement is of {}: take another --out, or "
                      "measure under another --name",
                      file.string(),
                      in_quotes(known),
                      in_quotes(device)));
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

// Tables of collectives show no bandwidth where they hold small sizes alone, and no latency where
// they hold a single size.
std::string what_it_holds(const LinkProfile& profile) {
  const bool only_small = is_bandwidth_unknown(profile);
  const bool only_one = is_latency_unknown(profile);
  return fmt::format("{}, {}",
                     only_small ? "bandwidth unknown" : human(profile.bandwidth),
                     only_one ? "latency unknown" : human(profile.latency));
}

}  // namespace

void fit_and_write(const Measurement& measurement, const std::filesystem::path& out) {
  const Calibration calibration = fit(measurement, fit_options(measurement));
  check_part_names(calibration);
  keep_other_devices(calibration, out);
  std::filesystem::create_directories(out);
  using Align = TextTable::Align;
  TextTable table({{"profile", Align::kLeft},
                   {"what it holds", Align::kLeft},
                   {"spread per step"},
                   {"per GPU"},
                   {"per run"},
                   {"runs"},
                   {"mean error"}});
  for (const auto& [profile_name, profile] : calibration.gpus) {
    write_profile(out / (profile_name + ".json"), profile);
    std::size_t points = 0;
    for (const StepCurve& curve : profile.steps) {
      points += curve.points.size();
    }
    table.add({profile_name,
               fmt::format("{} step points, {} curves", points, profile.operators.size()),
               sigma_text(profile.spread.step_sigma),
               sigma_text(profile.spread.unit_sigma),
               sigma_text(profile.spread.run_sigma),
               fmt::format("{}", profile.fit.runs),
               error_text(profile.fit)});
  }
  for (const auto& [profile_name, profile] : calibration.links) {
    write_profile(out / (profile_name + ".json"), profile);
    table.add({profile_name,
               what_it_holds(profile),
               "-",
               "-",
               sigma_text(profile.spread.run_sigma),
               fmt::format("{}", profile.fit.runs),
               error_text(profile.fit)});
  }
  fmt::print("{}", table.text(terminal_style()));
  for (const std::string& note : calibration.notes) {
    fmt::print("note: {}\n", note);
  }
  fmt::print(
      "\nSpread: one standard deviation from step to step, between nominally equal GPUs, "
      "between runs.\nMean error: each run predicted by a calibration that excludes it. Profiles "
      "are in {}; "
      "name them in a cluster file's \"profiles\".\n",
      out.string());
}

namespace {

int run_fit(const ImportArguments& arguments, const std::filesystem::path& out) {
  fit_and_write(read(arguments), out);
  return 0;
}

struct MeanError {
  double sum = 0;
  int count = 0;

  void add(double error) {
    sum += std::abs(error);
    ++count;
  }

  [[nodiscard]] double mean() const { return count == 0 ? 0 : sum / count; }
};

// Groups parts without what stands in brackets: "forward (rtx-3070)" stays, run names do not.
std::string check_text(const CalibrationCheck& check) {
  std::string text =
      "Each run predicted by a calibration that excludes it: median epoch (or step) in seconds\n\n";
  using Align = TextTable::Align;
  const TextStyle style = terminal_style();
  TextTable table({{"run", Align::kLeft},
                   {"measured"},
                   {"predicted"},
                   {"error"},
                   {"90% prediction interval", Align::kLeft},
                   {"", Align::kLeft}});
  MeanError all;
  std::map<std::string, MeanError> groups;
  std::map<std::string, double> widths;
  int inside = 0;
  for (const RunCheck& run : check.runs) {
    if (!run.unpredictable.empty()) {
      continue;
    }
    all.add(run.error());
    groups[run.group].add(run.error());
    widths[run.group] = std::max(widths[run.group], run.half_width());
    inside += run.inside() ? 1 : 0;
    table.add({run.run,
               fmt::format("{:.4g}", run.measured_s),
               fmt::format("{:.4g}", run.predicted_s),
               fmt::format("{:+.2f} %", 100 * run.error()),
               run.p05_s ? fmt::format("{:.4g} to {:.4g}", *run.p05_s, *run.p95_s) : "-",
               run.inside() ? TextCell("") : TextCell("outside", Ink::kCaution)});
  }
  text += table.text(style);
  for (const RunCheck& run : check.runs) {
    if (!run.unpredictable.empty()) {
      text += fmt::format("{}: not predictable: {}\n", run.run, run.unpredictable);
    }
  }
  if (all.count > 0) {
    text += fmt::format(
        "\n{:<42}{:>6} runs, mean absolute error {:.2f} %, {} of {} inside ({:.0f} %)\n",
        "all",
        all.count,
        100 * all.mean(),
        inside,
        all.count,
        100.0 * inside / all.count);
    for (const auto& [group, error] : groups) {
      text += fmt::format(
          "{:<42}{:>6} runs, mean absolute error {:.2f} %, widest half-interval {:.1f} %\n",
          group,
          error.count,
          100 * error.mean(),
          100 * widths[group]);
    }
  }
  std::map<std::string, MeanError> parts;
  std::map<std::string, double> worst;
  for (const ComponentCheck& component : check.components) {
    parts[component.part].add(component.error());
    worst[component.part] = std::max(worst[component.part], std::abs(component.error()));
  }
  if (!parts.empty()) {
    TextTable table_of_parts(
        {{"parts, each left out too", Align::kLeft}, {"runs"}, {"mean error"}, {"worst"}});
    for (const auto& [part, error] : parts) {
      table_of_parts.add({part,
                          fmt::format("{}", error.count),
                          fmt::format("{:.2f} %", 100 * error.mean()),
                          fmt::format("{:.2f} %", 100 * worst[part])});
    }
    text += "\n" + table_of_parts.text(style);
  }
  if (!check.models.empty()) {
    MeanError models;
    TextTable table_of_models({{"GPU", Align::kLeft},
                               {"figure", Align::kLeft},
                               {"model, left out", Align::kLeft},
                               {"precision", Align::kLeft},
                               {"batch"},
                               {"error"},
                               {"", Align::kLeft}});
    MeanError by_device;
    for (const LeftOutModel& model : check.models) {
      const double error = std::expm1(model.log_error);
      const bool by_host = model.host_share > 0.5;
      models.add(error);
      if (!by_host) {
        by_device.add(error);
      }
      table_of_models.add({model.gpu,
                           model.what,
                           model.model,
                           std::string(name(model.precision)),
                           fmt::format("{}", model.batch),
                           fmt::format("{:+.1f} %", 100 * error),
                           by_host ? "bound by the host" : ""});
    }
    text += "\n" + table_of_models.text(style);
    text += fmt::format("mean absolute error {:.2f} %\n", 100 * models.mean());
    if (by_device.count > 0 && by_device.count < models.count) {
      text += fmt::format("mean absolute error {:.2f} % where the host's launches do not rule\n",
                          100 * by_device.mean());
    }
  }
  return text;
}

nlohmann::json check_json(const CalibrationCheck& check) {
  nlohmann::json json = {{"schema", "vitsim-check/1"},
                         {"runs", nlohmann::json::array()},
                         {"components", nlohmann::json::array()},
                         {"models", nlohmann::json::array()}};
  for (const RunCheck& run : check.runs) {
    nlohmann::json row = {{"run", run.run}, {"group", run.group}};
    if (run.unpredictable.empty()) {
      row.update({{"measured_s", run.measured_s},
                  {"predicted_s", run.predicted_s},
                  {"p05_s", run.p05_s ? nlohmann::json(*run.p05_s) : nlohmann::json()},
                  {"p95_s", run.p95_s ? nlohmann::json(*run.p95_s) : nlohmann::json()},
                  {"error", run.error()},
                  {"inside", run.inside()}});
    } else {
      row["unpredictable"] = run.unpredictable;
    }
    json["runs"].push_back(std::move(row));
  }
  for (const ComponentCheck& part : check.components) {
    json["components"].push_back({{"run", part.run},
                                  {"part", part.part},
                                  {"measured", part.measured},
                                  {"predicted", part.predicted},
                                  {"error", part.error()}});
  }
  for (const LeftOutModel& model : check.models) {
    json["models"].push_back({{"gpu", model.gpu},
                              {"what", model.what},
                              {"model", model.model},
                              {"precision", name(model.precision)},
                              {"batch", model.batch},
                              {"error", std::expm1(model.log_error)},
                              {"host_share", model.host_share}});
  }
  return json;
}

int run_check(const ImportArguments& arguments,
              const ResultFiles& files,
              const std::filesystem::path& history) {
  if (arguments.files.empty() && history.empty()) {
    throw UserError("give recorded runs to refit, or --history with validations");
  }
  if (arguments.files.empty() && files.any()) {
    throw UserError(fmt::format("--{} holds the errors of recorded runs: give some to refit",
                                files.json.empty() ? "html" : "json"));
  }
  if (!history.empty()) {
    fmt::print(
        files.take_standard_output() ? stderr : stdout, "{}", history_text(read_history(history)));
  }
  if (arguments.files.empty()) {
    return 0;
  }
  const Measurement measurement = read(arguments);
  ProgressMeter meter("checking runs");
  const CalibrationCheck check =
      check_calibration(measurement, fit_options(measurement), meter.progress());
  if (files.any()) {
    files.write(check_json(check));
  }
  if (!files.take_standard_output()) {
    fmt::print("{}", check_text(check));
  }
  return 0;
}

}  // namespace

void add_calibrate_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "calibrate", "Measure this machine, or turn other measurements into profiles");
  command->require_subcommand(0, 1);
  add_calibrate_measure_command(*command, action);

  // Not called `import`: clang-format 14 takes that for a module.
  auto* importing = command->add_subcommand("import", "Read logs into one measurement file");
  auto import_arguments = std::make_shared<ImportArguments>();
  auto import_out = std::make_shared<std::string>("measurement.json");
  add_import_arguments(*importing, *import_arguments);
  importing->add_option("--out", *import_out, "Measurement to write")->capture_default_str();
  importing->footer(
      "Example: vitsim calibrate import logs/*.log metrics.csv --cluster lab --out lab.json");
  importing->callback([import_arguments, import_out, &action] {
    action = [import_arguments, import_out] { return run_import(*import_arguments, *import_out); };
  });

  auto* fit = command->add_subcommand("fit", "Fit GPU and link profiles");
  auto fit_arguments = std::make_shared<ImportArguments>();
  auto fit_out = std::make_shared<std::filesystem::path>("profiles");
  add_import_arguments(*fit, *fit_arguments);
  fit->add_option("--out", *fit_out, "Folder for the profiles")->capture_default_str();
  fit->footer("Example: vitsim calibrate fit lab.json --out profiles");
  fit->callback([fit_arguments, fit_out, &action] {
    action = [fit_arguments, fit_out] { return run_fit(*fit_arguments, *fit_out); };
  });

  auto* check = command->add_subcommand(
      "check", "Predict each run by a calibration that excludes it, and print the errors");
  auto check_arguments = std::make_shared<ImportArguments>();
  auto check_files = std::make_shared<ResultFiles>();
  auto check_history = std::make_shared<std::filesystem::path>();
  add_import_arguments(*check, *check_arguments);
  check->get_option("FILES")->required(false);
  check
      ->add_option(
          "--history",
          *check_history,
          "Print how the error of validations moved, e.g. outputs/validation_history.jsonl")
      ->type_name("FILE");
  add_result_files(*check, *check_files, "errors");
  check->footer("Example: vitsim calibrate check lab.json");
  check->callback([check_arguments, check_files, check_history, &action] {
    action = [check_arguments, check_files, check_history] {
      return run_check(*check_arguments, *check_files, *check_history);
    };
  });
}

}  // namespace vitsim
