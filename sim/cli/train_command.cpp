// `vitsim train` is done by vitsim-trainer, which alone links LibTorch and MPI. Started by an MPI
// launcher, this process becomes the trainer at once. Started by a person, it starts mpirun with
// one rank per GPU of the file, here or on the nodes' hosts, and waits.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/error.h"
#include "sim/cli/command.h"

namespace vitsim {

namespace {

struct TrainArguments {
  std::filesystem::path file;
  std::vector<std::string> settings;
  std::string launcher;
  std::string hostfile;
  std::vector<std::string> rest;  // the trainer's own options
};

std::filesystem::path find_trainer() {
  if (const char* told = std::getenv("VITSIM_TRAINER")) {
    return told;
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "vitsim-trainer";
  if (error || access(beside.c_str(), X_OK) != 0) {
    throw UserError(
        "vitsim-trainer is not beside vitsim: build it with -DVITSIM_TRAINER=ON (make test does), "
        "or "
        "name it in VITSIM_TRAINER");
  }
  return beside;
}

// Open MPI, MPICH and its kin, and srun tell a process of its rank.
bool started_by_launcher() {
  constexpr std::array<const char*, 3> kTold = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
  return std::ranges::any_of(kTold, [](const char* name) { return std::getenv(name) != nullptr; });
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> result;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(' ', at)) != std::string::npos) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    result.push_back(text.substr(at, end - at));
    at = end;
  }
  return result;
}

// "a:2,b:1" where the file says on which machines its nodes are; empty where it does not.
std::string host_list(const ClusterSpec& cluster) {
  std::string list;
  std::size_t named = 0;
  for (const NodeSpec& node : cluster.nodes) {
    if (node.host) {
      ++named;
      list += fmt::format("{}{}:{}", list.empty() ? "" : ",", *node.host, node.gpus.size());
    }
  }
  if (named != 0 && named != cluster.nodes.size()) {
    throw UserError("some nodes have a \"host\" and some do not: give every node one, or none");
  }
  return list;
}

std::vector<std::string> launch_command(const TrainArguments& arguments,
                                        const ClusterSpec& cluster) {
  if (!arguments.launcher.empty()) {
    return words(arguments.launcher);
  }
  if (cluster.world_size() == 1 && arguments.hostfile.empty() && !cluster.nodes.front().host) {
    return {};
  }
  std::vector<std::string> command = {
      "mpirun", "--quiet", "--bind-to", "none", "-np", std::to_string(cluster.world_size())};
  const std::string hosts = host_list(cluster);
  if (!arguments.hostfile.empty()) {
    command.insert(command.end(), {"--hostfile", arguments.hostfile});
  } else if (!hosts.empty()) {
    command.insert(command.end(), {"--host", hosts});
  } else {
    command.emplace_back("--oversubscribe");
  }
  if (geteuid() == 0) {
    command.emplace_back("--allow-run-as-root");  // containers
  }
  command.insert(command.end(), {"-x", "VITSIM_TERMINAL"});
  return command;
}

[[noreturn]] void become(const std::vector<std::string>& command) {
  std::vector<char*> words_of;
  for (const std::string& word : command) {
    words_of.push_back(const_cast<char*>(word.c_str()));
  }
  words_of.push_back(nullptr);
  execvp(words_of.front(), words_of.data());
  throw DeviceError(fmt::format("{} cannot be started: {}{}",
                                command.front(),
                                std::strerror(errno),
                                command.front() == "mpirun" ? " (install openmpi-bin)" : ""));
}

// mpirun ends with the code of the first rank that failed, or tells of a signal, which is a
// device's failure too.
int exit_code(int status) {
  if (!WIFEXITED(status)) {
    return 3;
  }
  const int code = WEXITSTATUS(status);
  return code == 0 || code == 2 || code == 70 ? code : 3;
}

pid_t launched = 0;

extern "C" void pass_on(int sign) {
  kill(launched, sign);
}

int launch(const std::vector<std::string>& command) {
  launched = fork();
  if (launched < 0) {
    throw DeviceError(fmt::format("fork: {}", std::strerror(errno)));
  }
  if (launched == 0) {
    try {
      become(command);
    } catch (const DeviceError& error) {
      fmt::print(stderr, "vitsim: error: {}\n", error.what());
      _exit(3);
    }
  }
  std::signal(SIGINT, pass_on);
  std::signal(SIGTERM, pass_on);
  int status = 0;
  while (waitpid(launched, &status, 0) < 0 && errno == EINTR) {
  }
  return exit_code(status);
}

int run_train(const TrainArguments& arguments) {
  const std::filesystem::path trainer = find_trainer();
  std::vector<std::string> train = {trainer.string(), "train", arguments.file.string()};
  PredictionInput input;
  input.settings = arguments.settings;
  for (const std::string& setting : arguments.settings) {
    train.insert(train.end(), {"--set", setting});
  }
  train.insert(train.end(), arguments.rest.begin(), arguments.rest.end());
  if (started_by_launcher()) {
    become(train);
  }
  const Experiment experiment = read_experiment(arguments.file, input.overrides());
  std::vector<std::string> command = launch_command(arguments, experiment.cluster);
  // mpirun gives ranks a terminal of their own, whether there is one here or not.
  setenv("VITSIM_TERMINAL", isatty(STDOUT_FILENO) == 1 ? "1" : "0", 1);
  command.insert(command.end(), train.begin(), train.end());
  return launch(command);
}

}  // namespace

void add_train_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("train", "Trains for real, one rank per GPU of the file");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("FILE", arguments->file, "Cluster and training")->required();
  command->add_option("--set", arguments->settings, "Set a key of the file, e.g. training.epochs=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--launcher", arguments->launcher, "Start ranks with this instead of mpirun")
      ->type_name("COMMAND");
  command->add_option("--hostfile", arguments->hostfile, "Machines, as mpirun wants them");
  command->allow_extras();
  command->footer(
      "Options of the trainer itself are passed on: --steps, --epochs, --resume, --out, --kineto, "
      "--loader-workers, --stop-on-unreadable, --hang-timeout, --check-replicas.\n"
      "Example: vitsim train configs/cluster/tesla-5gpu.json --steps 100");
  command->callback([command, arguments, &action] {
    arguments->rest = command->remaining();
    action = [arguments] { return run_train(*arguments); };
  });
}

}  // namespace vitsim
