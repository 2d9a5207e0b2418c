#include "sim/cli/application.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "models/document/words.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/version.h"

namespace vitsim {

namespace {

/// Where standard error is closed too, nobody can be told.
int fail(int code, const std::string& message) {
  std::fflush(stdout);
  std::fputs(fmt::format("vitsim: error: {}\n", printable(message)).c_str(), stderr);
  return code;
}

/// A file that is opened while standard output is closed would take its place. What is written to a
/// stream that only reads is an error, as it is to a closed one.
void keep_closed_streams_closed() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) == -1) {
      (void)open("/dev/null", O_RDONLY);  // takes the lowest free number
    }
  }
}

/// Files that a command writes must not be those it reads.
void refuse_overwriting(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
  }
  static constexpr std::array<std::string_view, 7> kWritten = {
      "json", "html", "csv", "out", "trace", "perfetto", "write"};
  std::vector<std::string> read;
  std::vector<std::pair<std::string, std::string>> written;  // option and file
  for (const CLI::Option* option : command->get_options()) {
    const auto& names = option->get_lnames();
    const std::string name = names.empty() ? "" : names.front();
    for (const std::string& value : option->results()) {
      if (std::ranges::find(kWritten, name) != kWritten.end()) {
        written.emplace_back("--" + name, value);
      } else if (names.empty() || name == "like" || name == "profiles" || name == "measured") {
        read.push_back(value);
      }
    }
  }
  for (const auto& [option, file] : written) {
    for (const std::string& input : read) {
      std::error_code error;
      if (std::filesystem::is_regular_file(input, error) &&
          std::filesystem::equivalent(file, input, error)) {
        throw UserError(fmt::format(
            "{} {} is also read: it would be lost; name another file", option, in_quotes(file)));
      }
    }
  }
}

// What the command line got wrong, in the words that it could have used.
std::string command_line_problem(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  std::string name = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  std::vector<std::string> commands;
  for (const CLI::App* known : command->get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(known->get_name());
  }
  std::vector<std::string> options;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& known : option->get_lnames()) {
      options.push_back("--" + known);
    }
  }
  std::string problem = error.what();
  // A wrong value is found before the rest is looked at: that may be right.
  const bool wrong_value = dynamic_cast<const CLI::ValidationError*>(&error) != nullptr;
  const std::vector<std::string> unknown =
      wrong_value ? std::vector<std::string>() : app.remaining(true);
  const auto option =
      std::ranges::find_if(unknown, [](const std::string& word) { return word.starts_with('-'); });
  if (option != unknown.end()) {
    const std::string word = option->substr(0, option->find('='));
    const auto nearest = nearest_word(word, options);
    problem = fmt::format("unknown option {}{}",
                          in_quotes(word),
                          nearest ? fmt::format(" (did you mean \"{}\"?)", *nearest) : "");
  } else if (!unknown.empty() && !commands.empty()) {
    problem = fmt::format("unknown command {}{}",
                          in_quotes(unknown.front()),
                          did_you_mean(unknown.front(), commands));
  } else if (!unknown.empty()) {
    problem = fmt::format("unexpected argument {}", in_quotes(unknown.front()));
  }
  return fmt::format("{}; see {} --help", problem, name);
}

}  // namespace

int run_application(int argc, const char* const* argv) {
  keep_closed_streams_closed();
  CLI::App app(
      "vitsim predicts how long a Vision Transformer takes to train on a cluster of GPUs, which "
      "need "
      "not be equal, with a 90% prediction interval, and names the straggler.",
      "vitsim");
  app.set_version_flag("--version", version_text);
  app.require_subcommand(1);
  app.footer("Start with: vitsim predict configs/cluster/tesla-5gpu.json");
  Action action;
  add_init_command(app, action);
  add_predict_command(app, action);
  add_scale_command(app, action);
  add_sweep_command(app, action);
  add_plan_command(app, action);
  add_collective_command(app, action);
  add_compare_command(app, action);
  add_report_command(app, action);
  add_calibrate_command(app, action);
  add_train_command(app, action);
  add_completion_command(app, action);
  add_manual_command(app, action);
  add_validate_command(app, action);
  try {
    app.parse(argc, argv);
    refuse_overwriting(app);
    const int code = action ? action() : 0;
    if (std::fflush(stdout) != 0) {
      return fail(3, fmt::format("standard output: {}", std::strerror(errno)));
    }
    return code;
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : fail(2, command_line_problem(app, error));
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
  } catch (const std::system_error& error) {
    return fail(
        3, fmt::format("{}{}", std::ferror(stdout) != 0 ? "standard output: " : "", error.what()));
  } catch (const std::exception& error) {
    return fail(70, fmt::format("internal: {}; please report it", error.what()));
  }
}

}  // namespace vitsim
