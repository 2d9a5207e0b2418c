// `vitsim compare` and `vitsim validate` from the command line. Instead of a trainer a script runs
// that leaves a run directory with a report made from the prediction.
#include <csignal>
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/assess/validation_history.h"
#include "sim/cli/application.h"
#include "tests/support/run_program_support.h"
#include "tests/support/small_measurement.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCluster = R"({
  "cluster": {
    "nodes": [ { "name": "a", "gpus": ["quick"] }, { "name": "b", "gpus": ["slow"] } ],
    "network": { "bandwidth": "10Gbps", "latency": "50us" }
  },
  "training": {
    "model": { "layers": 2, "width": 64, "heads": 2, "mlp": 128, "patch": 8 },
    "image_size": 32, "classes": 10,
    "dataset": { "name": "synthetic", "samples": 1600 },
    "micro_batch_per_gpu": 8,
    "gradient_sync": "deepspeed-zero-0"
  },
  "profiles": ["."]
})";

// Hand-written: forward and backward in seconds, no spread.
std::string profile(const std::string& name, double forward_s, double backward_s) {
  return fmt::format(R"({{
  "schema": "vitsim-profile/1", "kind": "gpu", "name": "{0}", "device": {{}},
  "provenance": {{ "sources": [], "tool": "test", "created": "2026-01-01" }},
  "steps": [ {{
    "model": {{ "name": "custom", "layers": 2, "width": 64, "heads": 2, "mlp": 128, "patch": 8 }},
    "image_size": 32, "channels": 3, "classes": 10, "precision": "fp32", "optimizer": "adamw",
    "points": [ {{ "micro_batch": 8, "data_load_s": 0.0, "forward_s": {1}, "backward_s": {2},
                   "optimizer_s": 0.0, "other_s": 0.0, "count": 10 }} ]
  }} ],
  "operators": [], "overlap_slowdown": 1.0, "epoch_start_s": 0.0,
  "spread": {{ "step_sigma": 0.0, "unit_sigma": 0.0, "run_sigma": 0.0 }},
  "memory": {{ "constant_bytes": 1e8, "alone_bytes": 0.0, "activation_factor": 1.0 }},
  "fit": {{ "runs": 1, "mean_abs_error": 0.0, "worst": 0.0 }}
}})",
                     name,
                     forward_s,
                     backward_s);
}

class ValidateCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("quick.json", profile("quick", 0.1, 0.2));
    folder_.write("slow.json", profile("slow", 0.2, 0.4));
    file_ = folder_.write("lab.json", kCluster).string();
    ASSERT_EQ(vitsim({"predict", file_, "--json", at("predicted.json")}), 0);
    // Called as: launch.sh COUNT TRAINER train FILE --out DIR ... or measure FILE --out FILE ...
    launcher_ = "sh " + folder_.write("launch.sh", "shift; exec \"$@\"").string() + " {n}";
    const fs::path trainer = folder_.write("trainer.sh",
                                           "#!/bin/sh\nif [ \"$1\" = measure ]; then\n"
                                           "  exec cp \"$(dirname \"$0\")/made.json\" \"$4\"\nfi\n"
                                           "sleep 0.3\nmkdir -p \"$4\"\n"
                                           "cp \"$(dirname \"$0\")\"/measured/* \"$4\"\n");
    fs::permissions(trainer, fs::perms::owner_all);
    setenv("VITSIM_TRAINER", trainer.c_str(), 1);
  }

  void TearDown() override { unsetenv("VITSIM_TRAINER"); }

  static int vitsim(const std::vector<std::string>& words) {
    std::vector<const char*> arguments = {"vitsim"};
    for (const std::string& word : words) {
      arguments.push_back(word.c_str());
    }
    return run_application(static_cast<int>(arguments.size()), arguments.data());
  }

  [[nodiscard]] std::string at(const std::string& name) const {
    return (folder_.path() / name).string();
  }

  // What the "trainer" will have measured: the prediction with every time `factor` times as long.
  void will_measure(double factor) {
    nlohmann::json json = nlohmann::json::parse(test::file_text(at("predicted.json")));
    json["source"] = "measured";
    json["measurement"] = json["prediction"];
    json.erase("prediction");
    for (const char* name : {"epoch_s", "step_s", "total_s"}) {
      for (auto& [key, value] : json["measurement"][name].items()) {
        value = value.is_null() ? value : nlohmann::json(value.get<double>() * factor);
      }
    }
    fs::create_directories(folder_.path() / "measured");
    folder_.write("measured/report.json", json.dump());
    folder_.write("measured/timeline.jsonl",
                  R"({"rank":0,"stream":"compute","step":0,"phase":"forward","begin_ns":0,)"
                  R"("end_ns":5,"bytes":0,"warm_up":false})"
                  "\n");
  }

  int validate(std::vector<std::string> more) {
    std::vector<std::string> words = {"validate",
                                      file_,
                                      "--launcher",
                                      launcher_,
                                      "--out",
                                      at("run"),
                                      "--history",
                                      at("history.jsonl")};
    words.insert(words.end(), more.begin(), more.end());
    return vitsim(words);
  }

  test::TemporaryFolder folder_;
  std::string file_;
  std::string launcher_;
};

TEST_F(ValidateCommand, ExitsByTheToleranceAndKeepsAHistory) {
  will_measure(1.0);
  EXPECT_EQ(validate({"--foreign-load", "10000%", "--trace", at("trace.json")}), 0);
  will_measure(1.2);  // predicted / measured - 1 = -16.7 %
  EXPECT_EQ(validate({"--foreign-load", "10000%", "--json", at("result.json")}), 1);
  const auto records = read_history(at("history.jsonl"));
  ASSERT_EQ(records.size(), 2U);
  EXPECT_NEAR(records[0].error(), 0, 1e-9);
  EXPECT_NEAR(records[1].error(), 1 / 1.2 - 1, 1e-9);
  EXPECT_EQ(records[1].slowest_named, true);
  const std::string trace = test::file_text(at("trace.json"));
  EXPECT_THAT(trace, ::testing::HasSubstr("predicted"));
  EXPECT_THAT(trace, ::testing::HasSubstr("measured"));
  const auto json = nlohmann::json::parse(test::file_text(at("result.json")));
  EXPECT_FALSE(json.at("comparison").at("within").get<bool>());
  EXPECT_EQ(vitsim({"calibrate", "check", "--history", at("history.jsonl")}), 0);
}

TEST_F(ValidateCommand, RefusesTheFolderOfAnotherRunBeforeItCalibrates) {
  will_measure(1.0);
  folder_.write("run/resolved.json", "{}");
  fs::remove(folder_.path() / "slow.json");  // which it would measure first
  EXPECT_EQ(validate({"--budget", "1s"}), 2);
  EXPECT_FALSE(fs::exists(at("history.jsonl")));
  EXPECT_FALSE(fs::exists("outputs/profiles-lab"));
}

TEST_F(ValidateCommand, JudgesNothingThatOthersDisturbed) {
  will_measure(1.0);
  const pid_t other = fork();  // not waited for: its time is not ours
  ASSERT_NE(other, -1);
  if (other == 0) {
    // A loop without effects might be compiled to nothing.
    for (volatile int busy = 1; busy != 0;) {
    }
    _exit(0);
  }
  EXPECT_EQ(validate({"--foreign-load", "10%", "--repeats", "1"}), 3);
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  EXPECT_FALSE(fs::exists(at("history.jsonl")));
  EXPECT_TRUE(fs::exists(at("run-1")));  // it was repeated once
}

// A calibration makes the folder; what predicts needs it.
TEST_F(ValidateCommand, TakesAFileWhoseProfilesAreStillToBeMade) {
  std::string text = kCluster;
  text.replace(text.find("[\".\"]"), 5, "[\".\", \"made\"]");
  folder_.write("lab.json", text);
  EXPECT_EQ(vitsim({"predict", file_}), 2);
  will_measure(1.0);
  EXPECT_EQ(validate({"--foreign-load", "10000%"}), 0);
  folder_.write("made.json", to_text(test::small_measurement("cpu-lab", "Xeon A")));
  EXPECT_EQ(vitsim({"calibrate",
                    file_,
                    "--launcher",
                    launcher_,
                    "--measurement",
                    at("measured.json"),
                    "--out",
                    at("made")}),
            0);
  EXPECT_TRUE(fs::exists(at("made/cpu-lab.json")));
  EXPECT_EQ(vitsim({"predict", file_}), 0);
}

TEST_F(ValidateCommand, ComparesReportsAndRunDirectories) {
  will_measure(1.08);
  EXPECT_EQ(vitsim({"compare", at("predicted.json"), at("predicted.json"), "--tolerance", "0%"}),
            0);
  EXPECT_EQ(vitsim({"compare", at("predicted.json"), at("measured"), "--tolerance", "10%"}), 0);
  EXPECT_EQ(vitsim({"compare", at("predicted.json"), at("measured")}), 1);
  EXPECT_EQ(vitsim({"compare", at("predicted.json"), at("absent")}), 2);
  EXPECT_EQ(vitsim({"compare", at("predicted.json"), at("measured"), "--tolerance", "5"}), 2);
}

// The file leaves the images to be counted; the run's report says that they were 1600.
TEST_F(ValidateCommand, TakesTheNumberOfImagesFromTheRunThatCountedThem) {
  will_measure(1.0);
  auto resolved = nlohmann::json::parse(test::file_text(at("predicted.json"))).at("resolved");
  resolved.erase("replicates");
  resolved.erase("seed");
  resolved["training"]["dataset"] = {
      {"name", "image-folder"}, {"path", "photos"}, {"samples", nullptr}, {"fraction", 0.5}};
  folder_.write("measured/resolved.json", resolved.dump());
  EXPECT_EQ(vitsim({"validate",
                    "--runs",
                    at("measured"),
                    "--profiles",
                    folder_.path().string(),
                    "--history",
                    at("history.jsonl")}),
            0);
  const auto records = read_history(at("history.jsonl"));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].figure, "epoch");
  EXPECT_NEAR(records[0].error(), 0, 1e-9);
}

TEST_F(ValidateCommand, NeedsAFileOrRecordedRuns) {
  EXPECT_EQ(vitsim({"validate"}), 2);
  EXPECT_EQ(vitsim({"validate", file_, "--runs", at("measured")}), 2);
}

TEST_F(ValidateCommand, JsonOnStandardOutputIsTheResultAlone) {
  std::string text = kCluster;
  text.replace(text.find("slow"), 4, "unmeasured");
  folder_.write("lab.json", text);
  Measurement made = test::small_measurement("unmeasured", "Xeon A");
  auto& pass = *made.samples.front().as<PassSeries>();
  pass.model = {.layers = 2, .width = 64, .heads = 2, .mlp = 128, .patch = 8, .image_size = 32};
  pass.classes = 10;
  folder_.write("made.json", to_text(made));
  will_measure(1.0);
  // Like the trainer's, and mpirun's, banner.
  const std::string launcher =
      folder_.write("banner.sh", "echo banner; shift; exec \"$@\"").string();
  const test::ProgramRun run = test::run_program({"sh",
                                                  "-c",
                                                  "cd \"$0\" && exec \"$@\"",
                                                  folder_.path().string(),
                                                  VITSIM_BINARY_DIR "/vitsim",
                                                  "validate",
                                                  file_,
                                                  "--launcher",
                                                  "sh " + launcher + " {n}",
                                                  "--foreign-load",
                                                  "10000%",
                                                  "--tolerance",
                                                  "10000%",
                                                  "--json",
                                                  "-"});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(nlohmann::json::accept(run.output)) << run.output;
  for (const char* part : {"calibrating first", "Next: vitsim predict", "Predicted: ", "banner"}) {
    EXPECT_THAT(run.errors, ::testing::HasSubstr(part));
  }
}

TEST_F(ValidateCommand, TheHistoryIsNoPartOfTheJsonOfACheck) {
  will_measure(1.0);
  ASSERT_EQ(validate({"--foreign-load", "10000%"}), 0);
  const test::ProgramRun run = test::run_vitsim({"calibrate",
                                                 "check",
                                                 VITSIM_SOURCE_DIR "/tests/golden/import/ring",
                                                 "--history",
                                                 at("history.jsonl"),
                                                 "--json",
                                                 "-"});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(nlohmann::json::accept(run.output)) << run.output;
  EXPECT_THAT(run.errors, ::testing::HasSubstr("slowest named"));
}

// Or else this machine would be measured under the names of the other machines' GPUs.
TEST_F(ValidateCommand, CalibratesOnTheMachinesThatItTrainsOn) {
  std::string text = kCluster;
  text.replace(text.find("slow"), 4, "unmeasured");
  folder_.write("lab.json", text);
  const fs::path mpirun = folder_.write("mpirun",
                                        "#!/bin/sh\n"
                                        "echo \"$@\" >> \"$(dirname \"$0\")/launched\"\n"
                                        "exit 3\n");
  fs::permissions(mpirun, fs::perms::owner_all);
  const auto launched = [&](const std::string& option, const std::string& value) {
    fs::remove(at("launched"));
    // In the folder, which the profiles are kept in.
    const test::ProgramRun run = test::run_program({"sh",
                                                    "-c",
                                                    "cd \"$0\" && PATH=\"$0:$PATH\" exec \"$@\"",
                                                    folder_.path().string(),
                                                    VITSIM_BINARY_DIR "/vitsim",
                                                    "validate",
                                                    file_,
                                                    option,
                                                    value});
    EXPECT_EQ(run.exit_code, 3) << run.errors;
    return test::file_text(at("launched"));
  };
  EXPECT_THAT(launched("--hostfile", "hosts.txt"),
              ::testing::ContainsRegex("--hostfile hosts.txt .* measure "));
  EXPECT_THAT(launched("--launcher", "mpirun of {n}"), ::testing::StartsWith("of 2 "));
}

}  // namespace
}  // namespace vitsim
