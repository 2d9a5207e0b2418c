// A shell completion that cannot go stale: it is printed from the same tree of commands and options
// that parses the command line.
#include <algorithm>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "sim/cli/command.h"

namespace vitsim {

namespace {

struct Words {
  std::string commands;
  std::string options;
  std::map<std::string, std::string> values;  // by option: the words it takes
};

// CLI11 shows the words of CLI::IsMember as "TEXT:{a,b}" in an option's type.
std::string listed_values(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const auto begin = type.find('{');
  const auto end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return {};
  }
  std::string values = type.substr(begin + 1, end - begin - 1);
  std::ranges::replace(values, ',', ' ');
  return values;
}

void append(std::string& words, const std::string& word) {
  words += words.empty() || word.empty() ? word : " " + word;
}

// Words of every command, by its full name.
void collect(CLI::App& app, const std::string& full_name, std::map<std::string, Words>& commands) {
  Words words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      append(words.options, "--" + name);
      if (const std::string values = listed_values(*option); !values.empty()) {
        words.values["--" + name] = values;
      }
    }
    if (option->get_positional()) {
      append(words.commands, listed_values(*option));
    }
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    append(words.commands, command->get_name());
    collect(*command, full_name + " " + command->get_name(), commands);
  }
  commands[full_name] = std::move(words);
}

// {} three times: names of all subcommands, words of each command, words of options that have few.
constexpr const char* kBashScript =
    R"(# bash completion for vitsim; to use it at once: source <(vitsim completion bash)
_vitsim() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
  local command=vitsim commands= options= values= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${{COMP_WORDS[i]}}" in
      {}) command+=" ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$command" in
{}  esac
  case "$command $previous" in
{}  esac
  # What is neither command nor option is a file's name: -o default completes it.
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$word"))
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  else
    COMPREPLY=($(compgen -W "$commands" -- "$word"))
  fi
}}
complete -o default -F _vitsim vitsim
)";

std::string bash_completion(CLI::App& app) {
  std::map<std::string, Words> commands;
  collect(app, app.get_name(), commands);
  std::string names;
  std::string cases;
  std::string values;
  for (const auto& [name, words] : commands) {
    if (name != app.get_name()) {
      names += fmt::format("{}\"{}\"", names.empty() ? "" : " | ", name);
    }
    cases += fmt::format(
        "    \"{}\") commands=\"{}\" options=\"{}\" ;;\n", name, words.commands, words.options);
    for (const auto& [option, known] : words.values) {
      values += fmt::format("    \"{} {}\") values=\"{}\" ;;\n", name, option, known);
    }
  }
  return fmt::format(kBashScript, names, cases, values);
}

}  // namespace

void add_completion_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("completion", "Print a completion script for the shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "The shell")->required()->check(CLI::IsMember({"bash"}));
  command->footer("Example: source <(vitsim completion bash)");
  command->callback([&app, &action, shell] {
    action = [&app, shell] {
      fmt::print("{}", bash_completion(app));
      return 0;
    };
  });
}

}  // namespace vitsim
