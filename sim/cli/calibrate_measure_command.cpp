#include <cstdlib>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "calibrate/measurement/measurement.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/experiment.h"
#include "sim/cli/command.h"
#include "sim/cli/trainer_process.h"

namespace vitsim {

namespace {

struct MeasureArguments {
  std::filesystem::path file;
  std::vector<std::string> settings;
  std::string measurement = "measurement.json";
  std::filesystem::path profiles = "profiles";
  LaunchOptions launch;
  std::vector<std::string> rest;  // options that are the trainer's
};

std::vector<std::string> measure_words(const MeasureArguments& arguments) {
  std::vector<std::string> words = {trainer_binary().string(), "measure"};
  if (!arguments.file.empty()) {
    words.push_back(arguments.file.string());
  }
  for (const std::string& setting : arguments.settings) {
    words.insert(words.end(), {"--set", setting});
  }
  words.insert(words.end(), {"--out", arguments.measurement});
  words.insert(words.end(), arguments.rest.begin(), arguments.rest.end());
  return words;
}

// With its launcher where it needs one. A machine without a file, or of a file with one rank, is
// measured by one process.
std::vector<std::string> command_of(const MeasureArguments& arguments) {
  if (under_launcher() || arguments.file.empty()) {
    return measure_words(arguments);
  }
  const PredictionInput input{.file = arguments.file, .settings = arguments.settings};
  const Experiment experiment =
      read_experiment(input.file, input.overrides(), {}, MissingProfiles::kAccepted);
  const std::vector<std::string> words = measure_words(arguments);
  const std::int64_t world = experiment.cluster.world_size();
  const bool elsewhere = arguments.launch.hostfile || !arguments.launch.launcher.empty() ||
                         experiment.cluster.nodes.front().host;
  return world == 1 && !elsewhere
             ? words
             : launch_command(arguments.launch, &experiment.cluster, world, words);
}

bool first_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(variable); under_launcher() && rank != nullptr) {
      return std::string_view(rank) == "0";
    }
  }
  return true;
}

// A failure keeps what was written before it.
int run_measure(const MeasureArguments& arguments) {
  const auto written = [&]() -> std::optional<std::filesystem::file_time_type> {
    std::error_code error;
    const auto time = std::filesystem::last_write_time(arguments.measurement, error);
    return error ? std::nullopt : std::optional(time);
  };
  const auto before = written();
  const int code = run_to_end(command_of(arguments));
  if (code == 3 && first_rank() && written() && written() != before) {
    fmt::print(stderr, "vitsim: what was measured until then is in {}\n", arguments.measurement);
  }
  return code;
}

int measure_and_fit(const MeasureArguments& arguments) {
  const int code = run_measure(arguments);
  if (code != 0 || !first_rank()) {
    return code;
  }
  fit_and_write(read_measurement(arguments.measurement), arguments.profiles);
  fmt::print("Next: vitsim predict FILE with \"profiles\": [\"{}\"]\n",
             arguments.profiles.string());
  return 0;
}

void add_measure_options(CLI::App& command, const std::shared_ptr<MeasureArguments>& arguments) {
  command.add_option("FILE", arguments->file, "Cluster file: measures around what it trains");
  command.add_option("--set", arguments->settings, "Set a key of the file, e.g. training.epochs=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command.add_option("--hostfile", arguments->launch.hostfile, "Machines to measure");
  command.add_option("--launcher",
                     arguments->launch.launcher,
                     "Command to start ranks with in place of mpirun, e.g. \"srun -n {n}\"");
  const auto pass_value = [&](const char* name, const char* help) {
    command.add_option_function<std::string>(
        name,
        [=](const std::string& value) {
          arguments->rest.insert(arguments->rest.end(), {name, value});
        },
        help);
  };
  pass_value("--budget", "Time to take, e.g. 30s (default 2min)");
  pass_value("--name", "Name of the device's profile, or names by rank joined by commas");
  pass_value("--device", "auto, cpu or cuda; auto takes a GPU where there is one");
  pass_value("--link", "Name of the network's profile");
  pass_value("--model", "Models to measure, joined by commas");
  pass_value("--precision", "Precisions to measure, joined by commas");
  pass_value("--micro-batch", "Micro-batches to measure, joined by commas");
  pass_value("--parts", "What to measure: network,loader,steps,operators");
}

// A word that no file has and that looks like none's name was meant for a subcommand. Returns what
// is wrong with it; nothing for a file's name.
std::string misspelt_subcommand(const CLI::App& calibrate, const std::string& word) {
  std::error_code error;
  if (word.find_first_of("./") != std::string::npos || std::filesystem::exists(word, error)) {
    return {};
  }
  std::vector<std::string> commands;
  for (const CLI::App* known : calibrate.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(known->get_name());
  }
  return fmt::format("{} is neither a file nor one of calibrate's commands{}",
                     in_quotes(word),
                     did_you_mean(word, commands));
}

// What stands before a subcommand is read by nobody.
void refuse_words_before_subcommand(const CLI::App& calibrate) {
  const std::string subcommand = calibrate.get_subcommands().front()->get_name();
  for (const CLI::Option* option : calibrate.get_options()) {
    if (option->count() > 0) {
      throw UserError(fmt::format(
          "{0} stands before {1}, which does not read it there: write it after {1}; see "
          "vitsim calibrate {1} --help",
          option->get_name(),
          subcommand));
    }
  }
}

}  // namespace

void add_calibrate_measure_command(CLI::App& calibrate, Action& action) {
  auto both = std::make_shared<MeasureArguments>();
  add_measure_options(calibrate, both);
  calibrate.get_option("FILE")->check(
      CLI::Validator([&](const std::string& word) { return misspelt_subcommand(calibrate, word); },
                     std::string()));
  calibrate.add_option("--out", both->profiles, "Folder for the profiles")->capture_default_str();
  calibrate.add_option("--measurement", both->measurement, "Measurement to write")
      ->capture_default_str();
  calibrate.footer(
      "Without a subcommand: measure, alone or under mpirun, then fit.\n"
      "Example: vitsim calibrate --budget 2min --name my-gpu --out profiles");
  calibrate.callback([=, &calibrate, &action] {
    if (!calibrate.get_subcommands().empty()) {
      refuse_words_before_subcommand(calibrate);
      return;
    }
    action = [=] { return measure_and_fit(*both); };
  });

  auto* measure = calibrate.add_subcommand("measure", "Measure this machine, or all of a cluster");
  auto arguments = std::make_shared<MeasureArguments>();
  add_measure_options(*measure, arguments);
  measure->add_option("--out", arguments->measurement, "Measurement to write")
      ->capture_default_str();
  measure->footer(
      "Under mpirun or srun every process is one rank; without them, mpirun is started here where "
      "FILE has several.\nExample: vitsim calibrate measure cluster.json --budget 2min");
  measure->callback([=, &action] {
    action = [=] {
      if (under_launcher()) {
        become(command_of(*arguments));
      }
      return run_measure(*arguments);
    };
  });
}

}  // namespace vitsim
