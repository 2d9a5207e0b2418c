// What people see: tables of at most 100 characters, colours on terminals that have them.
#include <algorithm>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";

// The widest line between two others: tables, without the sentences around them.
std::size_t widest_table_line(const std::string& output, const std::string& heading) {
  std::istringstream lines(output.substr(std::min(output.find(heading), output.size())));
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    widest = std::max(widest, line.size());
  }
  return widest;
}

TEST(Terminal, TablesFitAHundredCharacters) {
  ProgramRun run = run_vitsim({"predict", kTesla});
  EXPECT_GT(widest_table_line(run.output, "Ranks"), 60U);
  EXPECT_LE(widest_table_line(run.output, "Ranks"), 100U);
  run = run_vitsim({"predict", kTesla, "--set", "training.micro_batch_per_gpu=512"});
  EXPECT_THAT(run.output, HasSubstr("out of memory"));
  EXPECT_LE(widest_table_line(run.output, "Ranks"), 100U);
  run = run_vitsim({"scale", kTesla});
  EXPECT_GT(widest_table_line(run.output, "GPUs  "), 60U);
  EXPECT_LE(widest_table_line(run.output, "GPUs  "), 100U);
  // Three keys with long names, one of them with long values.
  run = run_vitsim({"sweep",
                    kTesla,
                    "--vary",
                    "training.micro_batch_per_gpu=16,[16,16,16,16,16]",
                    "--vary",
                    "training.gradient_accumulation_steps=1,2",
                    "--vary",
                    "cluster.network.bandwidth=1Gbps"});
  std::istringstream lines(run.output);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100U) << line;
  }
}

// `script` runs a program on a terminal of its own.
std::string on_a_terminal(const std::string& environment) {
  return run_program({"script",
                      "-qec",
                      "env " + environment + " " VITSIM_BINARY_DIR "/vitsim predict " + kTesla,
                      "/dev/null"})
      .output;
}

TEST(Terminal, HasColoursWhereTheTerminalDoes) {
  if (run_program({"sh", "-c", "command -v script"}).exit_code != 0) {
    GTEST_SKIP() << "there is no `script` here (Debian's bsdutils)";
  }
  EXPECT_THAT(on_a_terminal("-u NO_COLOR TERM=xterm"), HasSubstr("\x1b[1mBottleneck:\x1b[0m"));
  EXPECT_THAT(on_a_terminal("NO_COLOR=1 TERM=xterm"), Not(HasSubstr("\x1b[")));
  EXPECT_THAT(on_a_terminal("-u NO_COLOR TERM=dumb"), Not(HasSubstr("\x1b[")));
  // Into a file or a pipe there are none either.
  EXPECT_THAT(run_vitsim({"predict", kTesla}).output, Not(HasSubstr("\x1b[")));
}

}  // namespace
}  // namespace vitsim::test
