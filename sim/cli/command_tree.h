#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace vitsim {

/// The words that call a command: {"vitsim", "calibrate", "fit"}.
using CommandWords = std::vector<std::string>;

inline std::vector<CLI::App*> subcommands_of(CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

/// Calls `visit(command, words)` for a command and all below it, the command itself first.
template <class Visit>
void visit_commands(CLI::App& app, const CommandWords& words, const Visit& visit) {
  visit(app, words);
  for (CLI::App* command : subcommands_of(app)) {
    CommandWords longer = words;
    longer.push_back(command->get_name());
    visit_commands(*command, longer, visit);
  }
}

}  // namespace vitsim
