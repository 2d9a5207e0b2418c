#include "trainer/rank_command.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "models/error.h"
#include "trainer/progress_line.h"

namespace vitsim {

namespace {

// `--help` was asked for: the text to print.
struct Help {
  std::string text;
};

// An open progress line would stand before the message.
void print_error(const std::string& text) {
  fmt::print(stderr, "{}vitsim: error: {}\n", output_is_terminal() ? "\r\033[K" : "", text);
}

// All ranks agreed to stop: rank 0 tells the problems of the lowest rank that has any. Every rank
// calls it. Returns the exit code.
int tell_mistake(const MpiSession& session, const std::vector<std::string>& problems) {
  for (const std::string& problem : bring_problems_to_first(session, problems)) {
    print_error(problem);
  }
  return 2;
}

}  // namespace

void parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    throw Help{app.help()};
  } catch (const CLI::ParseError& error) {
    throw UserError(error.what());
  }
}

int run_rank_command(const std::function<int(const MpiSession&)>& command) {
  const MpiSession session;
  // Ranks that nobody tells would wait for this one for ever.
  const auto fail = [&](const std::string& what, int exit_code) {
    print_error(fmt::format("rank {} ({}): {}", session.rank(), session.host(), what));
    abort_job(exit_code);
  };
  try {
    return command(session);
  } catch (const Help& help) {
    if (session.rank() == 0) {
      fmt::print("{}", help.text);
    }
    return 0;
  } catch (const OtherRankFailed& other) {
    return other.exit_code == 2 ? tell_mistake(session, {}) : other.exit_code;
  } catch (const UserError& error) {
    return tell_mistake(session, error.problems());
  } catch (const InternalError& error) {
    fail(fmt::format("internal error: {}; please report it", error.what()), 70);
  } catch (const std::exception& error) {
    fail(error.what(), 3);
  }
  return 70;  // not reached: `fail` ends the process
}

}  // namespace vitsim
