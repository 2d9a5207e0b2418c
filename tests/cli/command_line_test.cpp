#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";

struct Mistake {
  std::vector<std::string> arguments;
  std::string message;
};

void expect_mistakes(const std::vector<Mistake>& mistakes) {
  for (const Mistake& mistake : mistakes) {
    const ProgramRun run = run_vitsim(mistake.arguments);
    EXPECT_EQ(run.exit_code, 2) << mistake.message;
    EXPECT_THAT(run.output, IsEmpty()) << mistake.message;
    EXPECT_THAT(run.errors, StartsWith("vitsim: error: "));
    EXPECT_THAT(run.errors, HasSubstr(mistake.message));
  }
}

TEST(CommandLine, MistakesExitWith2AndNameTheNearestWord) {
  const std::vector<Mistake> mistakes = {
      {{}, "see vitsim --help"},
      {{"predcit", kTesla}, "unknown command \"predcit\" (did you mean \"predict\"?)"},
      {{"calibrate", "import"}, "FILES is required; see vitsim calibrate import --help"},
      {{"predict"}, "FILE is required; see vitsim predict --help"},
      {{"predict", kTesla, "more"}, "unexpected argument \"more\""},
      {{"predict", kTesla, "--replicate", "3"}, "(did you mean \"--replicates\"?)"},
      {{"predict", kTesla, "--replicate=3"}, "(did you mean \"--replicates\"?)"},
      {{"predict", kTesla, "--replicates", "0"}, "--replicates: 0 is not a whole number from 1 "},
      {{"predict", kTesla, "--replicates", "1.5"}, "--replicates: 1.5 is not a whole number"},
      {{"predict", kTesla, "--seed", "-1"}, "--seed: -1 is not a whole number from 0 "},
      {{"predict", kTesla, "--threads", "many"}, "--threads: many is not a whole number from 0 "},
      {{"predict", kTesla, "--set", "training.epochs"}, "write KEY=VALUE"},
      {{"predict", kTesla, "--set", "training.epoch=3"}, "(did you mean \"epochs\"?)"},
      {{"predict", kTesla, "--set", "cluster.nodes.9.count=3"}, "/cluster/nodes: is a list of 4"},
      {{"predict", "no-such-file.json"}, "no-such-file.json: no such file"},
      {{"predict", VITSIM_SOURCE_DIR}, "is a folder"},
      {{"scale", kTesla, "--gpus", "0"}, "--gpus: 0 is not a whole number from 1 "},
      {{"scale", kTesla, "--gpus", "1,x"}, "--gpus: x is not a whole number from 1 "},
      {{"scale", kTesla, "--gpus", "1,6"}, "6 GPUs asked for: the cluster has 5"},
      {{"scale", kTesla, "--weak", "--strong"}, "--strong excludes --weak"},
      {{"calibrate", "import", "no-such.log"}, "no-such.log"},
      {{"calibrate", "fitt"},
       "\"fitt\" is neither a file nor one of calibrate's commands (did you mean \"fit\"?)"},
      {{"calibrate", "fitt", "lab.json", "--out", "x"}, "(did you mean \"fit\"?)"},
      {{"calibrate", "lab-five"}, "known: measure, import, fit, check"},
      {{"calibrate", "lab.json"}, "lab.json: no such file"},
      {{"completion", "tcsh"}, "tcsh not in {bash,zsh,fish}"},
  };
  expect_mistakes(mistakes);
}

TEST(CommandLine, FoldersOfTheEnvironmentThatDoNotExistAreNamed) {
  const auto predict = [](const std::string& variable) {
    return run_program(
        {"env", variable + "=/no/such/folder", VITSIM_BINARY_DIR "/vitsim", "predict", kTesla});
  };
  // A calibration may make the one; without the other nothing is known.
  const ProgramRun profiles = predict("VITSIM_PROFILES");
  EXPECT_EQ(profiles.exit_code, 0);
  EXPECT_THAT(profiles.output, HasSubstr("$VITSIM_PROFILES names \"/no/such/folder\""));
  const ProgramRun configs = predict("VITSIM_CONFIGS");
  EXPECT_EQ(configs.exit_code, 2);
  EXPECT_THAT(configs.errors, HasSubstr("$VITSIM_CONFIGS names \"/no/such/folder\""));
}

TEST(CommandLine, WordsThatWouldDoNothingExitWith2) {
  expect_mistakes({
      {{"calibrate", "--budget", "5s", "measure"}, "--budget stands before measure"},
      {{"calibrate", kTesla, "measure"}, "FILE stands before measure"},
      {{"calibrate", "--out", "x", "fit", kTesla}, "see vitsim calibrate fit --help"},
      {{"calibrate", "check", "--history", kTesla, "--json", "-"}, "give some to refit"},
      {{"validate", "--runs", "x", "--set", "training.epochs=3"}, "--set does nothing"},
      {{"validate", "--runs", "x", "--trace", "both.json"}, "--trace does nothing"},
  });
}

// Before anything is started or written.
TEST(CommandLine, WhatCanOnlyBePredictedIsNotTrained) {
  const std::string sync = "training.gradient_sync=deepspeed-zero-3";
  expect_mistakes({
      {{"train", kTesla, "--set", sync},
       "training.gradient_sync deepspeed-zero-3 can be predicted, not trained: fsdp also shards"},
      {{"validate", kTesla, "--set", "training.recompute=attention"},
       "training.recompute attention can be predicted, not trained: write block"},
  });
}

TEST(CommandLine, OutputThatCannotBeWrittenExitsWith3) {
  const TemporaryFolder folder;
  const auto blocker = folder.write("blocker", "a file where a folder is needed");
  const std::string target = (blocker / "report.json").string();
  for (const char* option : {"--json", "--trace"}) {
    const ProgramRun run = run_vitsim({"predict", kTesla, option, target});
    EXPECT_EQ(run.exit_code, 3) << option;
    EXPECT_THAT(run.errors, HasSubstr(target + ": cannot be created")) << option;
  }
  // A target that is a folder, and a full disk.
  ProgramRun run = run_vitsim({"predict", kTesla, "--json", folder.path().string()});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.errors, HasSubstr(folder.path().string()));
  run = run_vitsim({"predict", kTesla, "--json", "/dev/full"});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.errors, HasSubstr("/dev/full"));
  // Nothing is left behind: the blocker alone.
  const std::filesystem::directory_iterator left(folder.path());
  EXPECT_EQ(std::distance(begin(left), end(left)), 1);
}

TEST(CommandLine, ProfileFolderThatCannotBeMadeExitsWith3) {
  const TemporaryFolder folder;
  const auto blocker = folder.write("blocker", "");
  const ProgramRun run = run_vitsim({"calibrate",
                                     "fit",
                                     VITSIM_SOURCE_DIR "/tests/golden/import/ring",
                                     "--out",
                                     (blocker / "profiles").string()});
  EXPECT_EQ(run.exit_code, 3) << run.errors;
}

// Standard output that cannot take the text is as bad as a file that cannot.
TEST(CommandLine, FullStandardOutputExitsWith3) {
  const std::string command = VITSIM_BINARY_DIR "/vitsim predict " + kTesla + " > /dev/full";
  const ProgramRun run = run_program({"sh", "-c", command});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.errors, HasSubstr("standard output"));
}

}  // namespace
}  // namespace vitsim::test
