#pragma once

namespace vitsim {

/// `vitsim-trainer train FILE ...`; argv[0] is "train". Prints its own errors; returns the
/// process's exit code, or ends the whole job with it where a rank fails alone.
int run_train_command(int argc, const char* const* argv);

}  // namespace vitsim
