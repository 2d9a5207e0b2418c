#include "sim/cli/application.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "models/error.h"

namespace vitsim {

int run_application(int argc, const char* const* argv) {
  CLI::App app("Predicts how long a ViT training takes on a cluster of unequal GPUs", "vitsim");
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems()) {
      fmt::print(stderr, "vitsim: error: {}\n", problem);
    }
    return 2;
  }
}

}  // namespace vitsim
