#pragma once

namespace vitsim {

/// `vitsim-trainer measure [FILE]`: measures what this machine, or all ranks' machines, deliver.
/// `argv[0]` is the subcommand. Returns the exit code.
int run_measure_command(int argc, const char* const* argv);

}  // namespace vitsim
