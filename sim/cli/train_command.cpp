#include <memory>

#include <CLI/CLI.hpp>

#include "models/experiment/experiment.h"
#include "models/experiment/trainable.h"
#include "sim/cli/command.h"
#include "sim/cli/trainer_process.h"

namespace vitsim {

namespace {

struct TrainArguments {
  PredictionInput input;  // FILE and --set alone
  LaunchOptions launch;
  std::vector<std::string> rest;  // options that are the trainer's
};

int run_train(const TrainArguments& arguments) {
  std::vector<std::string> command = {trainer_binary().string(), "train"};
  if (!arguments.input.file.empty()) {
    command.push_back(arguments.input.file.string());
  }
  for (const std::string& setting : arguments.input.settings) {
    command.insert(command.end(), {"--set", setting});
  }
  command.insert(command.end(), arguments.rest.begin(), arguments.rest.end());
  if (under_launcher()) {
    become(command);
  }
  const Experiment experiment = read_experiment(arguments.input.file, arguments.input.overrides());
  require_trainable(experiment);
  const std::int64_t world = experiment.cluster.world_size();
  const bool elsewhere = arguments.launch.hostfile || !arguments.launch.launcher.empty() ||
                         experiment.cluster.nodes.front().host;
  if (world == 1 && !elsewhere) {
    become(command);
  }
  return run_to_end(launch_command(arguments.launch, &experiment.cluster, world, command));
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
  pass_value("--out", "Run directory (default: a new one under outputs/)");
  pass_value("--resume", "Run directory, or checkpoint, to continue from");
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
