// vitsim-trainer: `vitsim train` and `vitsim calibrate measure` start it, one process a rank.
#include <csignal>
#include <cstdio>
#include <exception>
#include <string_view>

#include <fmt/core.h>
#include <malloc.h>

#include "models/error.h"
#include "trainer/measure/measure_command.h"
#include "trainer/mpi/session.h"
#include "trainer/train_command.h"

namespace {

int run_command(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "train") {
    return vitsim::run_train_command(argc - 1, argv + 1);
  }
  if (command == "measure") {
    return vitsim::run_measure_command(argc - 1, argv + 1);
  }
  fmt::print(stderr, "usage: vitsim-trainer train FILE | measure [FILE] [options]\n");
  return 2;
}

// Every step frees and takes the same tensors of up to some hundred megabytes. Handed back to the
// kernel, each would be mapped and zeroed page by page in the next step.
void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit then is a failed write that gets told
  try {
    return run_command(argc, argv);
  } catch (const vitsim::DeviceError& error) {
    std::fprintf(stderr, "vitsim: error: %s\n", error.what());
    return 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "vitsim-trainer: internal error: %s\n", error.what());
    return 70;
  }
}
