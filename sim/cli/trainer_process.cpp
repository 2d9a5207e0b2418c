#include "sim/cli/trainer_process.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr int kDeviceFailed = 3;
constexpr int kLauncherFailed = 255;  // mpirun's, where ssh fails; 1 where slots are missing

std::vector<char*> as_arguments(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));  // exec does not write to them
  }
  arguments.push_back(nullptr);
  return arguments;
}

std::atomic<pid_t> running_child = 0;
std::atomic<bool> signal_passed_on = false;

void pass_on(int signal) {
  signal_passed_on = true;
  const pid_t child = running_child.load();
  if (child > 0) {
    kill(child, signal);
  }
}

// Ends with the orphans of a command: mpirun does not wait for the daemons that it started on other
// hosts. Whoever stays longer than a few seconds is left alone.
void reap_orphans() {
  constexpr int kTries = 500;
  for (int i = 0; i < kTries; ++i) {
    const pid_t ended = waitpid(-1, nullptr, WNOHANG);
    if (ended < 0 && errno == ECHILD) {
      return;
    }
    if (ended == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

// "a:2,b:1" in file order: slots are filled host by host, as ranks are numbered.
std::string hosts_of(const ClusterSpec& cluster) {
  std::string hosts;
  std::string without;
  for (const NodeSpec& node : cluster.nodes) {
    if (node.host) {
      hosts += fmt::format("{}{}:{}", hosts.empty() ? "" : ",", *node.host, node.gpus.size());
    } else if (without.empty()) {
      without = node.name;
    }
  }
  if (!hosts.empty() && !without.empty()) {
    throw UserError(fmt::format(
        "node \"{}\" has no \"host\", but others have: give every node one, or none", without));
  }
  return hosts;
}

}  // namespace

std::filesystem::path trainer_binary() {
  if (const char* named = std::getenv("VITSIM_TRAINER"); named != nullptr && *named != '\0') {
    if (access(named, X_OK) != 0) {
      throw UserError(fmt::format("$VITSIM_TRAINER: {}: {}", named, std::strerror(errno)));
    }
    return named;
  }
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::filesystem::path beside = self.parent_path() / "vitsim-trainer";
  if (error || access(beside.c_str(), X_OK) != 0) {
    throw UserError(
        fmt::format("{} is missing: build it with `make trainer`, or name one in $VITSIM_TRAINER",
                    beside.string()));
  }
  return beside;
}

bool under_launcher() {
  // Open MPI, MPICH and its kin, and srun by way of PMI.
  constexpr std::array<const char*, 5> kTold = {
      "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_SIZE", "PMI_RANK"};
  return std::ranges::any_of(kTold, [](const char* name) { return std::getenv(name) != nullptr; });
}

std::vector<std::string> launch_command(const LaunchOptions& options,
                                        const ClusterSpec* cluster,
                                        std::int64_t world,
                                        const std::vector<std::string>& command) {
  std::vector<std::string> words;
  if (!options.launcher.empty()) {
    std::istringstream text(options.launcher);
    for (std::string word; text >> word;) {
      if (const auto mark = word.find("{n}"); mark != std::string::npos) {
        word.replace(mark, 3, std::to_string(world));
      }
      words.push_back(word);
    }
  } else {
    // Ranks that share a machine share its cores: none is pinned to a core of its own.
    words = {"mpirun", "--quiet", "-np", std::to_string(world), "--bind-to", "none"};
    if (geteuid() == 0) {
      words.emplace_back("--allow-run-as-root");
    }
    const std::string hosts = cluster == nullptr ? "" : hosts_of(*cluster);
    if (options.hostfile) {
      words.insert(words.end(), {"--hostfile", options.hostfile->string()});
    } else if (!hosts.empty()) {
      words.insert(words.end(), {"--host", hosts});
    } else {
      words.emplace_back("--oversubscribe");
    }
    words.insert(words.end(), {"-x", "VITSIM_TERMINAL"});
  }
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

void become(const std::vector<std::string>& command) {
  std::fflush(nullptr);
  std::vector<char*> arguments = as_arguments(command);
  execvp(arguments.front(), arguments.data());
  throw DeviceError(fmt::format("{} cannot be started: {}{}",
                                command.front(),
                                std::strerror(errno),
                                command.front() == "mpirun" ? " (install openmpi-bin)" : ""));
}

int run_to_end(const std::vector<std::string>& command, int output) {
  std::fflush(nullptr);
  // mpirun gives ranks a terminal of their own, whether there is one here or not.
  setenv("VITSIM_TERMINAL", isatty(output) == 1 ? "1" : "0", 1);
  // Whom the command leaves behind becomes our child, and its CPU time counts as ours.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    throw DeviceError(fmt::format("fork: {}", std::strerror(errno)));
  }
  if (child == 0) {
    // No command outlives this process, even one killed; it may be gone before this is asked for.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
      _exit(kDeviceFailed);
    }
    dup2(output, STDOUT_FILENO);
    try {
      become(command);
    } catch (const DeviceError& error) {
      fmt::print(stderr, "vitsim: error: {}\n", error.what());
      _exit(kDeviceFailed);
    }
  }
  signal_passed_on = false;
  running_child = child;

  struct sigaction action {};

  action.sa_handler = pass_on;

  struct sigaction interrupt {};

  struct sigaction terminate {};

  sigaction(SIGINT, &action, &interrupt);
  sigaction(SIGTERM, &action, &terminate);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  running_child = 0;
  reap_orphans();
  sigaction(SIGINT, &interrupt, nullptr);
  sigaction(SIGTERM, &terminate, nullptr);
  // mpirun ends with the code of the first rank that failed, or tells of a signal by one of its
  // own.
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : kDeviceFailed;
  if (!signal_passed_on && (code == 1 || code == kLauncherFailed)) {
    // No rank was there to say why, and mpirun says little.
    fmt::print(
        stderr,
        "vitsim: error: {} could not start the ranks (exit code {}): is every host reachable "
        "by ssh without a password, with a slot for each of its ranks?\n",
        command.front(),
        code);
  }
  return code == 0 || code == 2 || code == 70 ? code : kDeviceFailed;
}

}  // namespace vitsim
