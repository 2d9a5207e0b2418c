#pragma once

#include <string>
#include <vector>

namespace vitsim::test {

/// What a program left behind.
struct ProgramRun {
  int exit_code = -1;  // 128 + signal where one ended it
  std::string output;
  std::string errors;
};

/// Runs a program with standard input closed and waits for it. It is looked up in PATH unless its
/// name has a slash. The test fails where it cannot be started.
ProgramRun run_program(const std::vector<std::string>& words);

/// Runs the `vitsim` that was built beside this test.
ProgramRun run_vitsim(const std::vector<std::string>& arguments);

}  // namespace vitsim::test
