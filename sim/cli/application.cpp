#include "sim/cli/application.h"

#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "models/error.h"
#include "sim/cli/command.h"

namespace vitsim {

namespace {

int fail(int code, const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "vitsim: error: {}\n", message);
  return code;
}

}  // namespace

int run_application(int argc, const char* const* argv) {
  CLI::App app(
      "vitsim predicts how long a Vision Transformer trains on a cluster of unequal GPUs, how sure "
      "that is, and which GPU holds the others up.",
      "vitsim");
  app.set_version_flag("--version", "vitsim " VITSIM_VERSION);
  app.require_subcommand(1);
  app.footer("Start with: vitsim predict configs/cluster/tesla-5gpu.json");
  Action action;
  add_predict_command(app, action);
  add_scale_command(app, action);
  add_sweep_command(app, action);
  add_collective_command(app, action);
  add_calibrate_command(app, action);
  try {
    app.parse(argc, argv);
    return action ? action() : 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems()) {
      fail(2, problem);
    }
    return 2;
  } catch (const DeviceError& error) {
    return fail(3, error.what());
  } catch (const InternalError& error) {
    return fail(70, fmt::format("internal: {}; please report it", error.what()));
  } catch (const std::bad_alloc&) {
    return fail(3, "out of memory");
  } catch (const std::exception& error) {
    return fail(70, fmt::format("internal: {}; please report it", error.what()));
  }
}

}  // namespace vitsim
