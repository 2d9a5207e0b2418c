#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The words that stand first in the lines below "Subcommands:".
std::vector<std::string> subcommands(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Subcommands:") {
      inside = true;
    } else if (line.empty()) {
      inside = false;
    } else if (inside && line.size() > 2 && line[2] != ' ') {
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
  }
  return names;
}

// Commands without subcommands, as words: {"calibrate", "fit"}.
std::vector<std::vector<std::string>> leaf_commands(const std::vector<std::string>& command = {}) {
  std::vector<std::string> words = command;
  words.emplace_back("--help");
  const ProgramRun run = run_vitsim(words);
  EXPECT_EQ(run.exit_code, 0);
  std::vector<std::vector<std::string>> leaves;
  for (const std::string& name : subcommands(run.output)) {
    std::vector<std::string> child = command;
    child.push_back(name);
    for (std::vector<std::string>& leaf : leaf_commands(child)) {
      leaves.push_back(std::move(leaf));
    }
  }
  if (leaves.empty()) {
    leaves.push_back(command);
  }
  return leaves;
}

TEST(Help, NamesTheCommands) {
  const ProgramRun run = run_vitsim({"--help"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.errors, IsEmpty());
  for (const char* name : {"predict", "scale", "calibrate", "completion"}) {
    EXPECT_THAT(run.output, HasSubstr(std::string("\n  ") + name));
  }
}

TEST(Help, OfEveryCommandHasAnExampleOfThatCommand) {
  const auto commands = leaf_commands();
  // predict, scale, calibrate import, fit and check, completion, at least.
  ASSERT_GE(commands.size(), 6U);
  for (const std::vector<std::string>& command : commands) {
    std::vector<std::string> words = command;
    std::string name = "vitsim";
    for (const std::string& word : command) {
      name += " " + word;
    }
    words.emplace_back("--help");
    const ProgramRun run = run_vitsim(words);
    EXPECT_EQ(run.exit_code, 0) << name;
    EXPECT_THAT(run.errors, IsEmpty()) << name;
    const auto example = run.output.find("Example");
    ASSERT_NE(example, std::string::npos) << name;
    EXPECT_THAT(run.output.substr(example), HasSubstr(name + " "));
  }
}

TEST(Help, VersionIsOneLine) {
  const ProgramRun run = run_vitsim({"--version"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(
      run.output,
      ::testing::MatchesRegex(
          "vitsim [0-9]+\\.[0-9]+\\.[0-9]+ \\(commit ([0-9a-f]+|unknown), data [0-9a-f]+\\)\n"));
}

}  // namespace
}  // namespace vitsim::test
