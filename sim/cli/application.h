#pragma once

namespace vitsim {

/// The whole program: parses the command line, runs the subcommand, prints errors. Returns the
/// process's exit code: 0, 1 (comparison out of tolerance), 2 (the user's mistake), 3 (device, MPI,
/// NCCL), 70 (our own mistake).
int run_application(int argc, const char* const* argv);

}  // namespace vitsim
