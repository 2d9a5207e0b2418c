#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "calibrate/import/import.h"
#include "calibrate/measurement/load_meter.h"
#include "calibrate/profile/library.h"
#include "models/error.h"
#include "models/experiment/trainable.h"
#include "sim/assess/validation.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/cli/progress_meter.h"
#include "sim/cli/trainer_process.h"
#include "sim/render/comparison_text.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

struct ValidateArguments {
  PredictionInput input;
  std::vector<fs::path> runs;
  std::vector<fs::path> profiles;
  std::optional<std::int64_t> epochs;
  std::optional<std::int64_t> steps;
  std::string tolerance = "10%";
  std::string most_foreign_load = "10%";
  std::int64_t repeats = 3;
  fs::path out;
  fs::path history = "outputs/validation_history.jsonl";
  fs::path trace;
  std::int64_t trace_steps = 10;
  ResultFiles files;
  std::string budget = "2min";
  LaunchOptions launch;

  // Where it is told what goes on: standard output may be the JSON's alone.
  [[nodiscard]] std::FILE* progress() const {
    return files.take_standard_output() ? stderr : stdout;
  }
};

std::vector<std::string> training_command(const ValidateArguments& arguments, const fs::path& out) {
  std::vector<std::string> command = {
      trainer_binary().string(), "train", arguments.input.file.string(), "--out", out.string()};
  for (const std::string& setting : arguments.input.settings) {
    command.insert(command.end(), {"--set", setting});
  }
  if (arguments.epochs) {
    command.insert(command.end(), {"--epochs", std::to_string(*arguments.epochs)});
  }
  if (arguments.steps) {
    command.insert(command.end(), {"--steps", std::to_string(*arguments.steps)});
  }
  return command;
}

// What the cluster names and no profile holds: it has to be measured before it can be predicted.
std::vector<std::string> uncalibrated(const ClusterSpec& cluster, const ProfileLibrary& library) {
  std::vector<std::string> missing;
  const auto need = [&](const std::string& name, bool known) {
    if (!known && std::ranges::find(missing, name) == missing.end()) {
      missing.push_back(name);
    }
  };
  const auto need_link = [&](const std::optional<LinkSpec>& link) {
    if (link && link->profile) {
      need(*link->profile, library.link(*link->profile).has_value());
    }
  };
  need_link(cluster.network);
  need_link(cluster.intra_node);
  for (const NodeSpec& node : cluster.nodes) {
    need_link(node.nic);
    need_link(node.intra_node);
    for (const GpuSpec& gpu : node.gpus) {
      need(gpu.model, library.gpu(gpu.model).has_value());
    }
  }
  return missing;
}

// Measures the cluster at hand where no profile fits; the profiles stay for the next time.
ResolvedExperiment resolve_or_calibrate(const ValidateArguments& arguments,
                                        const PredictionInput& input) {
  // Without a folder of profiles, or with an empty one: calibrating makes up for it.
  Experiment experiment =
      read_experiment(input.file, input.overrides(), {}, MissingProfiles::kAccepted);
  check_samples(experiment);  // before minutes of calibrating
  require_trainable(experiment);
  const fs::path own = fs::path("outputs") / fmt::format("profiles-{}", input.file.stem().string());
  experiment.profiles.insert(
      experiment.profiles.begin(), arguments.profiles.begin(), arguments.profiles.end());
  if (fs::exists(own)) {
    experiment.profiles.push_back(own);
  }
  const auto missing = uncalibrated(experiment.cluster, ProfileLibrary(experiment.profiles));
  if (!missing.empty()) {
    fmt::print(
        arguments.progress(), "No profile of {}: calibrating first.\n", fmt::join(missing, ", "));
    std::vector<std::string> command = {fs::read_symlink("/proc/self/exe").string(),
                                        "calibrate",
                                        input.file.string(),
                                        "--budget",
                                        arguments.budget,
                                        "--out",
                                        own.string(),
                                        "--measurement",
                                        own.string() + "-measurement.json"};
    for (const std::string& setting : input.settings) {
      command.insert(command.end(), {"--set", setting});
    }
    if (arguments.launch.hostfile) {
      command.insert(command.end(), {"--hostfile", arguments.launch.hostfile->string()});
    }
    if (!arguments.launch.launcher.empty()) {
      command.insert(command.end(), {"--launcher", arguments.launch.launcher});
    }
    fs::create_directories(own);
    const int code = run_to_end(command, fileno(arguments.progress()));
    if (code != 0) {
      throw DeviceError(fmt::format("the calibration ended with exit code {}", code));
    }
    experiment.profiles.push_back(own);
  }
  return resolve_with_library(experiment);
}

// Real runs until one was not disturbed by other load.
struct RealRun {
  fs::path folder;
  std::int64_t runs = 0;
  std::int64_t disturbed = 0;
};

RealRun train_undisturbed(const ValidateArguments& arguments,
                          const Experiment& experiment,
                          double most_cores) {
  const fs::path base =
      arguments.out.empty()
          ? fs::path("outputs") /
                fmt::format("validate-{}-{}", arguments.input.file.stem().string(), timestamp())
          : arguments.out;
  RealRun real;
  while (real.runs <= arguments.repeats) {
    real.folder = real.runs == 0 ? base : fs::path(fmt::format("{}-{}", base.string(), real.runs));
    const LoadMeter meter;
    const int code = run_to_end(launch_command(arguments.launch,
                                               &experiment.cluster,
                                               experiment.cluster.world_size(),
                                               training_command(arguments, real.folder)),
                                fileno(arguments.progress()));
    const ForeignLoad load = meter.since_start();
    ++real.runs;
    if (code != 0) {
      throw DeviceError(fmt::format("the training ended with exit code {}", code));
    }
    if (!load.disturbs(most_cores)) {
      return real;
    }
    ++real.disturbed;
    fmt::print(
        stderr,
        "vitsim: run {} was disturbed: others used {:.2f} cores, the hypervisor took {:.2f}; "
        "it is not judged\n",
        real.runs,
        load.busy_cores,
        load.stolen_cores);
  }
  throw DeviceError(fmt::format(
      "all {} runs were disturbed by other load: none is judged. Try on a quiet machine, or with "
      "--repeats or --foreign-load",
      real.runs));
}

void warn_of_foreign_devices(const Report& measured, const ProfileLibrary& library) {
  for (const std::string& warning : foreign_devices(measured, library)) {
    fmt::print(stderr, "vitsim: warning: {}\n", warning);
  }
}

nlohmann::json run_json(const ValidatedRun& run, double tolerance) {
  nlohmann::json json = {{"name", run.name}};
  if (!run.unpredictable.empty()) {
    json["unpredictable"] = run.unpredictable;
    return json;
  }
  json["comparison"] = to_json(run.comparison, tolerance);
  json["predicted"] = to_json(run.predicted);
  json["measured"] = to_json(run.measured);
  return json;
}

int validate_file(const ValidateArguments& arguments) {
  const double tolerance = parse_share("--tolerance", arguments.tolerance);
  const double most_foreign = parse_share("--foreign-load", arguments.most_foreign_load);
  if (fs::exists(arguments.out / "resolved.json")) {  // before minutes of calibrating
    throw UserError(
        fmt::format("{}: holds another run: name another --out", arguments.out.string()));
  }
  PredictionInput input = arguments.input;
  if (arguments.epochs) {
    input.settings.push_back(fmt::format("training.epochs={}", *arguments.epochs));
  }
  const ResolvedExperiment resolved = resolve_or_calibrate(arguments, input);
  if (resolved.jobs.size() > 1) {
    throw UserError(fmt::format("{}: validate runs one job; this file has {}",
                                arguments.input.file.string(),
                                resolved.jobs.size()));
  }
  const Report predicted =
      predict_jobs(resolved, {.replicates = input.replicates, .seed = input.seed}, true).front();
  fmt::print(arguments.progress(),
             "Predicted: a step of {:.4g} s, an epoch of {:.4g} s. Now for real.\n",
             predicted.step_s.p50,
             predicted.epoch_s.p50);
  const RealRun real = train_undisturbed(arguments, resolved.experiment, most_foreign);
  write_run_page(real.folder);
  const Report measured = read_report(real.folder / "report.json");
  warn_of_foreign_devices(measured, ProfileLibrary(resolved.experiment.profiles));
  const bool stopped =
      arguments.steps.has_value() &&
      *arguments.steps < predicted.steps_per_epoch * resolved.experiment.training.epochs;
  const ValidatedRun run =
      validate(arguments.input.file.stem().string(), predicted, measured, stopped);
  if (run.judged() == nullptr) {
    throw UserError("the run was too short: no full step after its warm-up");
  }
  append_history(arguments.history, {record_of(run, "run", real.runs, real.disturbed)});
  if (!arguments.trace.empty()) {
    Timeline foreseen = trace(resolved, arguments.trace_steps).front();
    foreseen.name = "predicted";
    Timeline seen =
        settled_part(read_timeline_lines(real.folder / "timeline.jsonl"), arguments.trace_steps);
    seen.rank_names = foreseen.rank_names;
    write_perfetto(arguments.trace, {foreseen, seen});
  }
  if (arguments.files.any()) {
    nlohmann::json json = run_json(run, tolerance);
    json["schema"] = "vitsim-validation/1";
    json["runs"] = real.runs;
    json["disturbed"] = real.disturbed;
    json["run_directory"] = real.folder.string();
    arguments.files.write(json);
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print(
        "{}{} run{}, {} disturbed and repeated; the one compared is {}\n",
        comparison_text(run.comparison, "predicted", "measured", tolerance, terminal_style()),
        real.runs,
        real.runs == 1 ? "" : "s",
        real.disturbed,
        real.folder.string());
  }
  return run.comparison.beyond(tolerance).empty() ? 0 : 1;
}

// All folders under the given ones that hold a report.
std::vector<fs::path> run_directories(const std::vector<fs::path>& places) {
  std::vector<fs::path> found;
  for (const fs::path& place : places) {
    if (!fs::is_directory(place)) {
      continue;
    }
    if (fs::exists(place / "report.json")) {
      found.push_back(place);
    }
    for (const auto& entry : fs::recursive_directory_iterator(place)) {
      if (entry.is_directory() && fs::exists(entry.path() / "report.json")) {
        found.push_back(entry.path());
      }
    }
  }
  std::ranges::sort(found);
  return found;
}

int validate_runs(const ValidateArguments& arguments) {
  const double tolerance = parse_share("--tolerance", arguments.tolerance);
  const Measurement measurement = import_files(arguments.runs);
  const ProfileLibrary library(arguments.profiles);
  ProgressMeter meter("predicting runs");
  const std::vector<ValidatedRun> runs = validate_recorded(
      measurement,
      run_directories(arguments.runs),
      library,
      {.replicates = arguments.input.replicates, .seed = arguments.input.seed, .gains = false},
      meter.progress());
  std::vector<ValidationRecord> records;
  using Align = TextTable::Align;
  TextTable table({{"run", Align::kLeft},
                   {"figure", Align::kLeft},
                   {"predicted"},
                   {"measured"},
                   {"error"},
                   {"90% prediction interval", Align::kLeft}});
  std::string unpredictable;
  nlohmann::json json = {{"schema", "vitsim-validation-runs/1"}, {"runs", nlohmann::json::array()}};
  int beyond = 0;
  double sum = 0;
  int inside = 0;
  for (const ValidatedRun& run : runs) {
    json["runs"].push_back(run_json(run, tolerance));
    if (!run.unpredictable.empty()) {
      unpredictable += fmt::format("{}: not predictable: {}\n", run.name, run.unpredictable);
      continue;
    }
    warn_of_foreign_devices(run.measured, library);
    const ValidationRecord& record = records.emplace_back(record_of(run, "recorded"));
    sum += std::abs(record.error());
    inside += record.inside.value_or(false) ? 1 : 0;
    const bool out = std::abs(record.error()) > tolerance;
    beyond += out ? 1 : 0;
    table.add(
        {run.name,
         record.figure,
         precise(record.predicted_s),
         precise(record.measured_s),
         TextCell(fmt::format("{:+.2f} %", 100 * record.error()), out ? Ink::kBad : Ink::kPlain),
         TextCell(fmt::format("{}{}",
                              !record.inside   ? "-"
                              : *record.inside ? "inside"
                                               : "outside",
                              out ? ", out of tolerance" : ""),
                  out ? Ink::kBad : Ink::kPlain)});
  }
  if (records.empty()) {
    throw UserError("no recorded run can be predicted with the profiles at hand:\n" +
                    unpredictable);
  }
  append_history(arguments.history, records);
  const auto count = static_cast<double>(records.size());
  std::string text = table.text(terminal_style()) + unpredictable;
  text += fmt::format(
      "\n{} runs, mean absolute error {:.2f} %, {} inside the 90% prediction interval, {} out of "
      "tolerance "
      "({:.4g} %)\n",
      records.size(),
      100 * sum / count,
      inside,
      beyond,
      100 * tolerance);
  json["mean_abs_error"] = sum / count;
  if (arguments.files.any()) {
    arguments.files.write(json);
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print("{}", text);
  }
  return beyond == 0 ? 0 : 1;
}

int run_validate(const ValidateArguments& arguments) {
  const ThreadLimit limit(arguments.input.threads);
  if (arguments.input.file.empty() == arguments.runs.empty()) {
    throw UserError("give a FILE to train for real, or --runs with recorded runs");
  }
  return arguments.runs.empty() ? validate_file(arguments) : validate_runs(arguments);
}

// Recorded runs are predicted as they are, and no training is started.
void refuse_options_of_a_training(const CLI::App& command) {
  for (const char* option : {"--set",
                             "--budget",
                             "--epochs",
                             "--steps",
                             "--foreign-load",
                             "--repeats",
                             "--out",
                             "--trace",
                             "--trace-steps",
                             "--hostfile",
                             "--launcher"}) {
    if (command.count(option) > 0) {
      throw UserError(fmt::format("{} does nothing with --runs: it is for a FILE", option));
    }
  }
}

}  // namespace

void add_validate_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "validate", "Predict a training, run it for real, and print how wrong the prediction was");
  auto arguments = std::make_shared<ValidateArguments>();
  add_prediction_input(*command, arguments->input);
  command->get_option("FILE")->required(false);
  command->add_option("--runs", arguments->runs, "Recorded runs to predict instead of a FILE")
      ->type_name("DIR");
  command->add_option("--budget", arguments->budget, "Time for calibrating, where no profile fits")
      ->capture_default_str();
  command->add_option("--profiles", arguments->profiles, "Folders of profiles to search first")
      ->type_name("DIR");
  command->add_option("--epochs", arguments->epochs, "Overrides training.epochs")
      ->check(CLI::PositiveNumber);
  command->add_option("--steps", arguments->steps, "Stop the real run after so many updates")
      ->check(CLI::PositiveNumber);
  add_tolerance(*command, arguments->tolerance);
  command
      ->add_option("--foreign-load",
                   arguments->most_foreign_load,
                   "Repeat a run during which other programs used more of a core")
      ->type_name("SHARE")
      ->capture_default_str();
  command
      ->add_option("--repeats", arguments->repeats, "How often a disturbed run is repeated at most")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--out", arguments->out, "Run directory (default: a new one under outputs/)");
  command->add_option("--history", arguments->history, "File that every validation adds a line to")
      ->capture_default_str();
  command->add_option("--trace",
                      arguments->trace,
                      "Write predicted and measured timeline side by side for ui.perfetto.dev");
  command->add_option("--trace-steps", arguments->trace_steps, "Steps in the timeline")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  add_result_files(*command, arguments->files, "result");
  command->add_option("--hostfile", arguments->launch.hostfile, "Machines to train on");
  command->add_option("--launcher",
                      arguments->launch.launcher,
                      "Command to start ranks with in place of mpirun, e.g. \"srun -n {n}\"");
  command->footer("Example: vitsim validate lab.json --epochs 1 --steps 50 --tolerance 10%");
  command->callback([arguments, command, &action] {
    if (!arguments->runs.empty()) {
      refuse_options_of_a_training(*command);
    }
    action = [arguments] { return run_validate(*arguments); };
  });
}

}  // namespace vitsim
