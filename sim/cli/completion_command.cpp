// Completions for shells that cannot go stale: they are printed from the same tree of commands and
// options that parses the command line.
#include <algorithm>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "sim/cli/command.h"
#include "sim/cli/command_tree.h"

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
  for (CLI::App* command : subcommands_of(app)) {
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

// A description in a script's single quotes, without line ends.
std::string in_single_quotes(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c == '\n' ? ' ' : c);
  }
  return quoted + "'";
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

// "name:description" for zsh's _describe, in quotes; colons of a description part nothing.
std::string zsh_entry(const std::string& name, const std::string& description) {
  std::string text = name + ":";
  for (const char c : description) {
    text += c == ':' ? "\\:" : std::string(1, c);
  }
  return in_single_quotes(text);
}

// {} three times: names of all subcommands, words of options that have few, entries of each
// command.
constexpr const char* kZshScript =
    R"(#compdef vitsim
# zsh completion for vitsim; to use it at once: source <(vitsim completion zsh)
_vitsim() {{
  local command=vitsim word
  local -a commands options
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$command $word" in
      {}) command="$command $word" ;;
    esac
  done
  case "$command $words[CURRENT-1]" in
{}  esac
  case "$command" in
{}  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe option options
  else
    (( $#commands )) && _describe command commands
    _files
  fi
}}
if [[ $funcstack[1] == _vitsim ]]; then
  _vitsim "$@"
else
  compdef _vitsim vitsim
fi
)";

std::string zsh_completion(CLI::App& app) {
  std::string names;
  std::string values;
  std::string cases;
  visit_commands(app, {app.get_name()}, [&](CLI::App& command, const auto& words) {
    const std::string name = fmt::format("{}", fmt::join(words, " "));
    if (words.size() > 1) {
      names += fmt::format("{}\"{}\"", names.empty() ? "" : " | ", name);
    }
    std::string commands;
    std::string options;
    for (const CLI::App* child : subcommands_of(command)) {
      append(commands, zsh_entry(child->get_name(), child->get_description()));
    }
    for (const CLI::Option* option : command.get_options()) {
      const std::string known = listed_values(*option);
      for (const std::string& option_name : option->get_lnames()) {
        append(options, zsh_entry("--" + option_name, option->get_description()));
        if (!known.empty()) {
          values +=
              fmt::format("    \"{} --{}\") compadd -- {}; return ;;\n", name, option_name, known);
        }
      }
      if (option->get_positional()) {
        append(commands, known);
      }
    }
    cases += fmt::format("    \"{}\") commands=({}) options=({}) ;;\n", name, commands, options);
  });
  return fmt::format(kZshScript, names, values, cases);
}

// A condition of fish: exactly these words stand on the line, as commands.
std::string fish_condition(CLI::App& command, const CommandWords& words) {
  std::string condition;
  for (std::size_t i = 1; i < words.size(); ++i) {
    condition += fmt::format("{}__fish_seen_subcommand_from {}", i > 1 ? "; and " : "", words[i]);
  }
  std::string children;
  for (const CLI::App* child : subcommands_of(command)) {
    append(children, child->get_name());
  }
  if (!children.empty()) {
    condition += fmt::format(
        "{}not __fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ", children);
  }
  return in_single_quotes(condition);
}

std::string fish_completion(CLI::App& app) {
  std::string text =
      "# fish completion for vitsim; to use it at once: vitsim completion fish | source\n"
      "complete -c vitsim -e\n";
  visit_commands(app, {app.get_name()}, [&](CLI::App& command, const auto& words) {
    const std::string condition = fish_condition(command, words);
    for (const CLI::App* child : subcommands_of(command)) {
      text += fmt::format("complete -c vitsim -n {} -f -a {} -d {}\n",
                          condition,
                          child->get_name(),
                          in_single_quotes(child->get_description()));
    }
    for (const CLI::Option* option : command.get_options()) {
      const std::string known = listed_values(*option);
      for (const std::string& name : option->get_lnames()) {
        text += fmt::format("complete -c vitsim -n {} -l {}{} -d {}\n",
                            condition,
                            name,
                            !known.empty()         ? fmt::format(" -x -a '{}'", known)
                            : takes_value(*option) ? " -r"
                                                   : "",
                            in_single_quotes(option->get_description()));
      }
      if (option->get_positional() && !known.empty()) {
        text += fmt::format("complete -c vitsim -n {} -f -a '{}'\n", condition, known);
      }
    }
  });
  return text;
}

}  // namespace

void add_completion_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("completion", "Print a completion script for the shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "The shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("Example: source <(vitsim completion bash)");
  command->callback([&app, &action, shell] {
    action = [&app, shell] {
      fmt::print("{}",
                 *shell == "bash"  ? bash_completion(app)
                 : *shell == "zsh" ? zsh_completion(app)
                                   : fish_completion(app));
      return 0;
    };
  });
}

}  // namespace vitsim
