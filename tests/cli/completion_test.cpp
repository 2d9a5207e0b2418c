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
  EXPECT_EQ(offered("vitsim completion ''"), "bash zsh fish");
  EXPECT_EQ(offered("vitsim predict conf"), "");
  const ProgramRun run = run_program(
      {"bash", "-c", "source <(" VITSIM_BINARY_DIR "/vitsim completion bash); complete -p vitsim"});
  EXPECT_EQ(run.output, "complete -o default -F _vitsim vitsim\n");
}

// What fish offers for a command line.
std::string offered_by_fish(const std::string& line) {
  const ProgramRun run = run_program(
      {"fish",
       "--no-config",
       "-c",
       "source (" VITSIM_BINARY_DIR "/vitsim completion fish | psub); complete -C '" + line + "'"});
  EXPECT_EQ(run.errors, "");
  return run.output;
}

TEST(Completion, OfFishOffersCommandsOptionsAndWords) {
  if (run_program({"sh", "-c", "command -v fish"}).exit_code != 0) {
    GTEST_SKIP() << "there is no fish here";
  }
  EXPECT_THAT(offered_by_fish("vitsim pred"), ::testing::StartsWith("predict\t"));
  EXPECT_THAT(offered_by_fish("vitsim predict --repl"), ::testing::StartsWith("--replicates\t"));
  EXPECT_THAT(offered_by_fish("vitsim calibrate f"), ::testing::HasSubstr("fit\t"));
  EXPECT_THAT(offered_by_fish("vitsim predict --ranks "), ::testing::HasSubstr("some"));
}

// zsh can only complete at a terminal: here its script is read and its function found.
TEST(Completion, OfZshIsASoundScript) {
  if (run_program({"sh", "-c", "command -v zsh"}).exit_code != 0) {
    GTEST_SKIP() << "there is no zsh here";
  }
  const ProgramRun run =
      run_program({"zsh",
                   "-f",
                   "-c",
                   "autoload -U compinit && compinit -D -u && source <(" VITSIM_BINARY_DIR
                   "/vitsim completion zsh) && whence -w _vitsim && print ${_comps[vitsim]}"});
  EXPECT_EQ(run.errors, "");
  EXPECT_EQ(run.output, "_vitsim: function\n_vitsim\n");
}

}  // namespace
}  // namespace vitsim::test
