// What `vitsim train` adds to a run: its page. A script stands in for the trainer.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/json_schema_support.h"
#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

namespace fs = std::filesystem;

class TrainPage : public ::testing::Test {
 protected:
  void SetUp() override {
    // A measured report, made of a predicted one.
    const ProgramRun run = run_vitsim(
        {"predict", VITSIM_SOURCE_DIR "/configs/cluster/tesla-1gpu.json", "--json", "-"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    nlohmann::json report = nlohmann::json::parse(run.output);
    report["source"] = "measured";
    report["measurement"] = report["prediction"];
    report.erase("prediction");
    folder_.write("report.json", report.dump());
    const fs::path script = folder_.write("trainer", R"sh(#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
mkdir -p "$out"
cp "$(dirname "$0")"/report.json "$out"
printf 'epoch,train_s,evaluate_s,loss,top1,top5,images_per_s,peak_memory_bytes\n' > "$out/epochs.csv"
printf 'step,epoch,loss,lr,skipped\n1,1,2.4,0.1,0\n2,2,2.125,0.1,0\n' > "$out/steps.csv"
printf '1,2.5,,2.31,,,12.8,1000000\n2,2.25,0.2,2.2,0.4,0.8,14.2,1000000\n' >> "$out/epochs.csv"
)sh");
    fs::permissions(script, fs::perms::owner_all);
    setenv("VITSIM_TRAINER", script.c_str(), 1);
  }

  void TearDown() override { unsetenv("VITSIM_TRAINER"); }

  TemporaryFolder folder_;
};

TEST_F(TrainPage, StandsInTheRunDirectory) {
  const fs::path out = folder_.path() / "run";
  const ProgramRun run = run_vitsim(
      {"train", VITSIM_SOURCE_DIR "/configs/cluster/tesla-1gpu.json", "--out", out.string()});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.errors, HasSubstr("report.html"));
  const std::string page = file_text(out / "report.html");
  EXPECT_THAT(page, StartsWith("<!DOCTYPE html>"));
  // Loss and accuracy of both epochs; the first was not evaluated.
  EXPECT_THAT(page, HasSubstr(R"("loss":2.31)"));
  EXPECT_THAT(page, HasSubstr(R"("top1":0.4)"));
  EXPECT_THAT(page, HasSubstr(R"("loss":2.125)"));
}

TEST_F(TrainPage, DoesNotDecideOverTheRun) {
  folder_.write("report.json", "{\"schema\": \"vitsim-report/1\"}");
  const ProgramRun run = run_vitsim({"train",
                                     VITSIM_SOURCE_DIR "/configs/cluster/tesla-1gpu.json",
                                     "--out",
                                     (folder_.path() / "run").string()});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.errors, HasSubstr("warning: no report.html"));
}

}  // namespace
}  // namespace vitsim::test
