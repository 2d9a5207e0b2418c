#pragma once

#include <functional>
#include <string>

#include "trainer/mpi/session.h"

namespace CLI {
class App;
}  // namespace CLI

namespace vitsim {

/// Reads a command line. Throws UserError, or what `run_rank_command` takes for a wish for help.
void parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// Runs one rank's part of a command and returns this process's exit code. A user's mistake, on
/// which ranks agree (`on_every_rank`), is told by rank 0 (2). A rank that fails alone says so with
/// its number and host, and ends the whole job: 3, or 70 where the mistake is ours.
int run_rank_command(const std::function<int(const MpiSession&)>& command);

}  // namespace vitsim
