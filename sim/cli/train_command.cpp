#include <ctime>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "models/experiment/experiment.h"
#include "models/experiment/trainable.h"
#include "sim/cli/command.h"
#include "sim/cli/trainer_process.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  PredictionInput input;  // FILE and --set alone
  LaunchOptions launch;
  fs::path out;
  fs::path resume;
  std::vector<std::string> rest;  // options that are the trainer's
};

// Where the run leaves its files: named here, so that its page can be written at the end.
fs::path run_directory(const TrainArguments& arguments) {
  if (!arguments.out.empty()) {
    return arguments.out;
  }
  if (fs::exists(arguments.resume / "resolved.json")) {
    return arguments.resume;
  }
  const std::string name = fmt::format("outputs/{}-{:%Y%m%d-%H%M%S}",
                                       arguments.input.file.stem().string(),
                                       fmt::localtime(std::time(nullptr)));
  fs::path folder = name;
  for (int i = 2; fs::exists(folder); ++i) {
    folder = fmt::format("{}-{}", name, i);
  }
  return folder;
}

// What the trainer is given, but for where it writes.
std::vector<std::string> trainer_command(const TrainArguments& arguments) {
  std::vector<std::string> command = {trainer_binary().string(), "train"};
  if (!arguments.input.file.empty()) {
    command.push_back(arguments.input.file.string());
  }
  for (const std::string& setting : arguments.input.settings) {
    command.insert(command.end(), {"--set", setting});
  }
  command.insert(command.end(), arguments.rest.begin(), arguments.rest.end());
  if (!arguments.resume.empty()) {
    command.insert(command.end(), {"--resume", arguments.resume.string()});
  }
  return command;
}

int run_train(const TrainArguments& arguments) {
  if (under_launcher()) {
    std::vector<std::string> command = trainer_command(arguments);
    if (!arguments.out.empty()) {
      command.insert(command.end(), {"--out", arguments.out.string()});
    }
    become(command);
  }
  const Experiment experiment = read_experiment(arguments.input.file, arguments.input.overrides());
  require_trainable(experiment);  // a fault of the file is told before one of the installation
  std::vector<std::string> command = trainer_command(arguments);
  const std::int64_t world = experiment.cluster.world_size();
  const bool elsewhere = arguments.launch.hostfile || !arguments.launch.launcher.empty() ||
                         experiment.cluster.nodes.front().host;
  const fs::path folder = run_directory(arguments);
  command.insert(command.end(), {"--out", folder.string()});
  const int code =
      run_to_end(world == 1 && !elsewhere
                     ? command
                     : launch_command(arguments.launch, &experiment.cluster, world, command));
  if (code == 0 && fs::exists(folder / "report.json")) {
    write_run_page(folder);
  }
  return code;
}

}  // namespace

void add_train_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("train", "Train for real, one rank per process");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("FILE", arguments->input.file, "Cluster and training, as for predict")
      ->required();
  command
      ->add_option(
          "--set", arguments->input.settings, "Set a key of the file, e.g. training.epochs=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--hostfile",
                      arguments->launch.hostfile,
                      "Machines to train on (default: the nodes' hosts, else this one)");
  command->add_option("--launcher",
                      arguments->launch.launcher,
                      "Command to start ranks with in place of mpirun, e.g. \"srun -n {n}\"");
  // Named here for --help and so that their values are not taken for FILE; they are the trainer's.
  const auto pass_value = [&](const char* name, const char* help) {
    auto* rest = &arguments->rest;
    command->add_option_function<std::string>(
        name,
        [=](const std::string& value) {
          rest->insert(rest->end(), {name, value});
        },
        help);
  };
  const auto pass_flag = [&](const char* name, const char* help) {
    auto* rest = &arguments->rest;
    command->add_flag_callback(
        name, [=] { rest->emplace_back(name); }, help);
  };
  pass_value("--steps", "Stop after so many updates");
  pass_value("--epochs", "Overrides training.epochs");
  command->add_option("--out", arguments->out, "Run directory (default: a new one under outputs/)");
  command->add_option(
      "--resume", arguments->resume, "Run directory, or checkpoint, to continue from");
  pass_value("--device", "auto, cpu or cuda; auto takes a GPU where there is one");
  pass_value("--loader-workers", "Threads that load and decode images, per rank");
  pass_value("--hang-timeout", "Seconds without progress after which the job is ended");
  pass_flag("--stop-on-unreadable", "Stop at an image that cannot be read");
  pass_flag("--kineto", "Also write PyTorch's own profiler trace");
  pass_flag("--no-timeline",
            "Record no phases: no timeline.jsonl and trace.json, a report of epochs only");
  pass_flag("--check-replicas", "At the end, fail unless all ranks hold the same bits");
  command->footer(
      "Under mpirun or srun every process is one rank; without them, mpirun is started here.\n"
      "Example: vitsim train cluster.json --steps 20 --out outputs/first");
  command->callback([=, &action] { action = [=] { return run_train(*arguments); }; });
}

}  // namespace vitsim
