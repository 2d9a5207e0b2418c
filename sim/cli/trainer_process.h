#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include "models/experiment/cluster.h"

namespace vitsim {

/// The sibling that computes for real: $VITSIM_TRAINER, else beside the running binary. Throws
/// UserError with what to do where there is none.
std::filesystem::path trainer_binary();

/// True in a process that mpirun, srun or another MPI launcher started.
bool under_launcher();

/// How ranks are started where no launcher has done it.
struct LaunchOptions {
  std::optional<std::filesystem::path> hostfile;
  std::string launcher;  // the words in place of mpirun's; "{n}" in them is the world size
};

/// The command that starts `world` ranks of `command`: mpirun on this machine, on the nodes' hosts
/// where the cluster gives them, or on those of a host file. Throws UserError where only some nodes
/// have a host.
std::vector<std::string> launch_command(const LaunchOptions& options,
                                        const ClusterSpec* cluster,
                                        std::int64_t world,
                                        const std::vector<std::string>& command);

/// Becomes `command`: its exit code and signals are this process's own. Throws DeviceError where it
/// cannot be started.
[[noreturn]] void become(const std::vector<std::string>& command);

/// Runs `command` to its end and returns its exit code; all but 0, 2 and 70 is a failed device: 3.
/// SIGINT and SIGTERM are passed on to it; it gets SIGTERM where this process is killed. What it
/// prints to standard output goes to the file descriptor `output`.
int run_to_end(const std::vector<std::string>& command, int output = STDOUT_FILENO);

}  // namespace vitsim
