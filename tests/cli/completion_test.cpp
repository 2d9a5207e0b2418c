#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"

namespace vitsim::test {
namespace {

// What bash offers after these words; the last one is being typed.
std::string offered(const std::string& words) {
  const ProgramRun run =
      run_program({"bash",
                   "-c",
                   "source <(" VITSIM_BINARY_DIR "/vitsim completion bash) || exit 1\n"
                   "COMP_WORDS=(" +
                       words +
                       ")\n"
                       "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                       "_vitsim\n"
                       "echo -n \"${COMPREPLY[@]}\""});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(run.errors, "");
  return run.output;
}

TEST(Completion, OffersCommands) {
  EXPECT_EQ(offered("vitsim pred"), "predict");
  EXPECT_EQ(offered("vitsim sca"), "scale");
  EXPECT_EQ(offered("vitsim calibrate f"), "fit");
  EXPECT_THAT(offered("vitsim calibrate ''"), ::testing::HasSubstr("import fit check"));
}

TEST(Completion, OffersTheOptionsOfTheCommand) {
  EXPECT_EQ(offered("vitsim predict --repl"), "--replicates");
  EXPECT_EQ(offered("vitsim predict a.json --tr"), "--trace --trace-steps");
  EXPECT_EQ(offered("vitsim scale --fast"), "--fastest-first");
  EXPECT_EQ(offered("vitsim predict --fast"), "");
  EXPECT_EQ(offered("vitsim calibrate import x.log --one"), "--one-node");
}

TEST(Completion, OffersWordsOfAListAndLeavesFilesToBash) {
  EXPECT_EQ(offered("vitsim completion ''"), "bash");
  EXPECT_EQ(offered("vitsim predict conf"), "");
  const ProgramRun run = run_program(
      {"bash", "-c", "source <(" VITSIM_BINARY_DIR "/vitsim completion bash); complete -p vitsim"});
  EXPECT_EQ(run.output, "complete -o default -F _vitsim vitsim\n");
}

}  // namespace
}  // namespace vitsim::test
