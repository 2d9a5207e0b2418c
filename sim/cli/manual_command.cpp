// Man pages that cannot go stale: they are made of the same tree of commands and options that
// parses the command line.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "models/document/atomic_file.h"
#include "models/document/words.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/command_tree.h"

namespace vitsim {

namespace {

// Text in roff: no line begins with a control character, hyphens stay hyphens.
std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const bool at_line_start = escaped.empty() || escaped.back() == '\n';
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else if (at_line_start && (c == '.' || c == '\'')) {
      escaped += "\\&";
      escaped += c;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string names_of(const CLI::Option& option) {
  std::string names;
  for (const std::string& name : option.get_snames()) {
    names += fmt::format("{}\\fB\\-{}\\fR", names.empty() ? "" : ", ", roff(name));
  }
  for (const std::string& name : option.get_lnames()) {
    names += fmt::format("{}\\fB\\-\\-{}\\fR", names.empty() ? "" : ", ", roff(name));
  }
  const std::string value = option.get_type_name();
  return option.get_items_expected_max() == 0 || value.empty()
             ? names
             : fmt::format("{} \\fI{}\\fR", names, roff(value));
}

std::string option_text(const CLI::Option& option) {
  const std::string standard = option.get_default_str();
  return fmt::format(".TP\n{}\n{}{}\n",
                     option.get_positional()
                         ? fmt::format("\\fI{}\\fR", roff(option.get_name(true)))
                         : names_of(option),
                     roff(option.get_description()),
                     standard.empty() ? "" : fmt::format(" (default: {})", roff(standard)));
}

std::string synopsis(CLI::App& command, const std::string& name) {
  std::string text = fmt::format("\\fB{}\\fR", roff(name));
  if (subcommands_of(command).empty()) {
    text += " [\\fIoptions\\fR]";
  } else {
    text += " \\fIcommand\\fR [\\fIoptions\\fR]";
  }
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional()) {
      const std::string value = roff(option->get_name(true));
      text += option->get_required() ? fmt::format(" \\fI{}\\fR", value)
                                     : fmt::format(" [\\fI{}\\fR]", value);
    }
  }
  return text;
}

std::string page(CLI::App& command, const CommandWords& words) {
  const std::string name = fmt::format("{}", fmt::join(words, " "));
  std::string title = fmt::format("{}", fmt::join(words, "-"));
  std::ranges::transform(title, title.begin(), [](unsigned char c) { return std::toupper(c); });
  std::string text =
      fmt::format(".TH {} 1 \"\" \"vitsim {}\" \"User commands\"\n", roff(title), VITSIM_VERSION);
  text += fmt::format(".SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n",
                      roff(fmt::format("{}", fmt::join(words, "-"))),
                      roff(command.get_description()),
                      synopsis(command, name));
  const auto children = subcommands_of(command);
  if (!children.empty()) {
    text += ".SH COMMANDS\n";
    for (const CLI::App* child : children) {
      text += fmt::format(".TP\n\\fB{}\\fR\n{}; see {}(1)\n",
                          roff(child->get_name()),
                          roff(child->get_description()),
                          roff(fmt::format("{}-{}", fmt::join(words, "-"), child->get_name())));
    }
  }
  text += ".SH OPTIONS\n";
  for (const CLI::Option* option : command.get_options()) {
    text += option_text(*option);
  }
  if (!command.get_footer().empty()) {
    text += fmt::format(".SH EXAMPLES\n.nf\n{}\n.fi\n", roff(command.get_footer()));
  }
  text +=
      ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\na comparison is out of tolerance\n.TP\n2\na mistake "
      "in a file or on the command line\n.TP\n3\nthe system, a device, MPI or NCCL "
      "failed\n.TP\n70\n"
      "a mistake in vitsim\n";
  return text;
}

void write_all(CLI::App& app, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  visit_commands(app, {app.get_name()}, [&](CLI::App& command, const CommandWords& words) {
    write_file_atomically(folder / fmt::format("{}.1", fmt::join(words, "-")),
                          page(command, words));
  });
}

}  // namespace

void add_manual_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("manual", "Print the man page of vitsim or of one command");
  auto words = std::make_shared<std::vector<std::string>>();
  auto folder = std::make_shared<std::filesystem::path>();
  command->add_option("COMMAND", *words, "The command's words, e.g. calibrate fit");
  command->add_option("--out", *folder, "Write the pages of all commands into this folder")
      ->type_name("DIR");
  command->footer("Example: vitsim manual predict | man -l -");
  command->callback([&app, &action, words, folder] {
    action = [&app, words, folder] {
      if (!folder->empty()) {
        write_all(app, *folder);
        return 0;
      }
      CLI::App* found = &app;
      std::vector<std::string> names = {app.get_name()};
      for (const std::string& word : *words) {
        std::vector<std::string> known;
        CLI::App* next = nullptr;
        for (CLI::App* child : subcommands_of(*found)) {
          known.push_back(child->get_name());
          next = child->get_name() == word ? child : next;
        }
        if (next == nullptr) {
          throw UserError(
              fmt::format("unknown command {}{}", in_quotes(word), did_you_mean(word, known)));
        }
        found = next;
        names.push_back(word);
      }
      fmt::print("{}", page(*found, names));
      return 0;
    };
  });
}

}  // namespace vitsim
