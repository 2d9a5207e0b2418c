#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/broken_input.h"
#include "tests/support/run_program_support.h"
#include "tests/support/small_measurement.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kCluster = R"({
  "cluster": {
    "nodes": [
      { "name": "old", "gpus": ["tesla-p4"] },
      { "name": "box", "count": 3, "gpus": ["rtx-3070"] }
    ],
    "network": { "bandwidth": "10Gbps", "latency": "50us" }
  },
  "training": {
    "model": "vit-b-16",
    "dataset": { "name": "cifar10", "samples": 50000, "fraction": 0.5 },
    "micro_batch_per_gpu": 16,
    "epochs": 10
  }
}
)";

std::string with(const std::string& old_text, const std::string& new_text) {
  return replaced(kCluster, old_text, new_text);
}

class BadInput : public ::testing::Test {
 protected:
  // Predicts the text as lab.json, with files to write, and returns what was said.
  std::string errors_of(const std::string& text) {
    folder_.write("lab.json", text);
    const auto begin = std::chrono::steady_clock::now();
    const ProgramRun run = run_vitsim({"predict",
                                       (folder_.path() / "lab.json").string(),
                                       "--json",
                                       (folder_.path() / "report.json").string(),
                                       "--trace",
                                       (folder_.path() / "trace.json").string()});
    // "At once": the whole process, many times what it takes, far less than a read in full.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_EQ(run.exit_code, 2) << run.errors;
    EXPECT_THAT(run.output, IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "report.json"));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "trace.json"));
    return run.errors;
  }

  // Imports the content as a log of that name to `measurement()`.
  ProgramRun import_log(const std::string& name, const std::string& content) {
    const auto log = folder_.write(name, content);
    return run_vitsim({"calibrate", "import", log.string(), "--out", measurement().string()});
  }

  [[nodiscard]] std::filesystem::path measurement() const {
    return folder_.path() / "measurement.json";
  }

  TemporaryFolder folder_;
};

struct Mistake {
  std::string old_text;
  std::string new_text;
  std::string message;  // from the line's number on
};

// The line numbers are those of kCluster: a name in the first node stands on line 4.
TEST_F(BadInput, EveryMistakeNamesFileLinePathAndNearestWord) {
  const std::string bandwidth = ":7: /cluster/network/bandwidth: ";
  const std::string latency = ":7: /cluster/network/latency: ";
  const std::string batch = ":12: /training/micro_batch_per_gpu: ";
  const std::string samples = ":11: /training/dataset/samples: ";
  const std::vector<Mistake> mistakes = {
      {"\"epochs\"", "\"epoch\"", ":13: /training/epoch: unknown key \"epoch\" (did you mean"},
      {"\"count\"", "\"cuont\"", ":5: /cluster/nodes/1/cuont: unknown key \"cuont\" (did you"},
      {"rtx-3070",
       "rtx-307O",
       ":5: /cluster/nodes/1/gpus/0: unknown GPU \"rtx-307O\" (did you mean \"rtx-3070\"?)"},
      {"vit-b-16",
       "vit-b-61",
       ":10: /training/model: unknown model \"vit-b-61\" (did you mean \"vit-b-16\"?)"},
      {"{ \"bandwidth\": \"10Gbps\", \"latency\": \"50us\" }",
       "{ \"profile\": \"tesla-ethernot\" }",
       ":7: /cluster/network: unknown link profile \"tesla-ethernot\" (did you mean "
       "\"tesla-ethernet\"?)"},
      {"\"10Gbps\"", "10", bandwidth + "10 has no unit: append one, e.g. \"Gbps\""},
      {"\"10Gbps\"", "\"10\"", bandwidth + "\"10\" has no unit"},
      {"\"10Gbps\"", "\"10us\"", bandwidth + "\"10us\" has an unknown unit \"us\""},
      {"\"10Gbps\"", "\"-10Gbps\"", bandwidth + "\"-10Gbps\" must not be negative"},
      {"\"10Gbps\"", "\"0Gbps\"", bandwidth + "must be above zero"},
      {"\"10Gbps\"", "\"nanGbps\"", bandwidth + "\"nanGbps\" is not a number"},
      {"\"10Gbps\"", "\"infGbps\"", bandwidth + "\"infGbps\" is not a number"},
      {"\"10Gbps\"", "NaN", ":7: not JSON"},
      {"\"10Gbps\"", "1e999", ":7: "},
      {"\"10Gbps\"", "\"1e300Gbps\"", bandwidth + "\"1e300Gbps\" is out of range"},
      {"\"50us\"", "\"-1us\"", latency + "\"-1us\" must not be negative"},
      {"\"50us\"", "\"1e30s\"", latency + "1e+30 s is too large"},
      {"\"50us\"", "50", latency + "50 has no unit"},
      {"gpu\": 16", "gpu\": 0", batch + "0 is out of range"},
      {"gpu\": 16", "gpu\": -3", batch + "-3 is out of range"},
      {"gpu\": 16", "gpu\": 1.5", batch + "1.5 is not a whole number"},
      {"gpu\": 16", "gpu\": 99999999999999999999999", batch + "1e+23 is out of range"},
      {"gpu\": 16", "gpu\": [16, 16]", ":12: /training/micro_batch_per_gpu: "},
      {"\"samples\": 50000", "\"samples\": 0", samples + "0 is out of range"},
      {"\"samples\": 50000", "\"samples\": 9e18", samples + "9e+18 is out of range"},
      {"0.5", "-0.5", ":11: /training/dataset/fraction: -0.5 is too small"},
      {"0.5", "2", ":11: /training/dataset/fraction: 2 is too large"},
      {"0.5", "1e-300", ":11: /training/dataset: a fraction of 1e-300 of 50000 samples is none"},
      {"[\"rtx-3070\"]", "[]", ":5: /cluster/nodes/1/gpus: a node needs at least one GPU"},
      {"\"count\": 3", "\"count\": 0", ":5: /cluster/nodes/1/count: 0 is out of range"},
      {"\"count\": 3", "\"count\": 10000000", ":5: /cluster/nodes/1/count: 10000000 is out of"},
      {"\"count\": 3", "\"count\": 1000000", "GPUs; a cluster has at most 1000000"},
      {"\"epochs\": 10", "\"epochs\": 10, \"epochs\": 3", ":13: key \"epochs\" is given twice"},
  };
  for (const Mistake& mistake : mistakes) {
    EXPECT_THAT(errors_of(with(mistake.old_text, mistake.new_text)),
                HasSubstr((mistake.message.starts_with(":") ? "lab.json" : "") + mistake.message))
        << mistake.new_text;
  }
}

// Training counts the files under the path; what predicts says that it needs their number. A
// collective does without.
TEST_F(BadInput, AFolderOfImagesIsPredictedByItsNumberOfSamples) {
  const std::string text = with("\"name\": \"cifar10\", \"samples\": 50000",
                                "\"name\": \"image-folder\", \"path\": \"photos\"");
  const std::string message =
      "lab.json:11: /training/dataset: data set \"image-folder\" needs \"samples\" to be predicted";
  EXPECT_THAT(errors_of(text), HasSubstr(message));
  const std::string lab = (folder_.path() / "lab.json").string();
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"scale", lab},
                                             {"scale", lab, "--weak"},
                                             {"sweep", lab, "--vary", "training.epochs=1,2"},
                                             {"validate", lab}}) {
    const ProgramRun run = run_vitsim(words);
    EXPECT_EQ(run.exit_code, 2) << words.front();
    EXPECT_THAT(run.errors, HasSubstr(message)) << words.front();
    EXPECT_THAT(run.output, IsEmpty()) << words.front();
  }
  EXPECT_EQ(run_vitsim({"predict", lab, "--set", "training.dataset.samples=100"}).exit_code, 0);
  EXPECT_EQ(run_vitsim({"collective", "all-reduce", lab, "--bytes", "1MiB"}).exit_code, 0);
}

TEST_F(BadInput, AllMistakesOfAFileAreReportedAtOnce) {
  std::string text = with("rtx-3070", "rtx-307O");
  for (const auto& [good, bad] :
       {std::pair{"vit-b-16", "vit-b-61"}, {"\"epochs\"", "\"epoch\""}, {"\"10Gbps\"", "10"}}) {
    text.replace(text.find(good), std::string(good).size(), bad);
  }
  const std::string errors = errors_of(text);
  for (const char* part : {":5: /cluster/nodes/1/gpus/0: unknown GPU",
                           ":7: /cluster/network/bandwidth: 10 has no unit",
                           ":10: /training/model: unknown model",
                           ":13: /training/epoch: unknown key"}) {
    EXPECT_THAT(errors, HasSubstr(part));
  }
  EXPECT_EQ(std::ranges::count(errors, '\n'), 4) << errors;
}

TEST_F(BadInput, FilesThatAreNoClusterAtAll) {
  EXPECT_THAT(errors_of(""), HasSubstr("lab.json: the file is empty"));
  EXPECT_THAT(errors_of("[1]"), HasSubstr("lab.json:1: /: must be an object, not a list"));
  // Cut inside the seventh line's second string.
  EXPECT_THAT(errors_of(kCluster.substr(0, kCluster.find("50us") + 2)),
              HasSubstr("lab.json:7: the file ends in the middle"));
  EXPECT_THAT(errors_of(std::string("\x7f"
                                    "ELF\0\1\2",
                                    7)),
              HasSubstr("lab.json: not a text file"));
  EXPECT_THAT(errors_of(with("old", "\xf6ld")), HasSubstr("lab.json:4: not JSON"));
  EXPECT_THAT(errors_of(std::string(100'000, '[')), HasSubstr("lab.json:1: "));
  EXPECT_THAT(errors_of(std::string(100'000'000, ' ')), HasSubstr("larger than 16 MB"));
}

TEST_F(BadInput, ProfilesAreCheckedLikeTheClusterFile) {
  const std::string text = with("\"cluster\"", "\"profiles\": [\"lab\"], \"cluster\"");
  EXPECT_THAT(errors_of(text), HasSubstr("lab.json:2: /profiles/0: "));
  const auto profile = [&](const std::string& content) {
    folder_.write("lab/rtx-3070.json", content);
    return errors_of(text);
  };
  EXPECT_THAT(profile(R"({"schema": "vitsim-profile/2", "kind": "gpu", "name": "rtx-3070"})"),
              HasSubstr("rtx-3070.json:1: /schema: schema \"vitsim-profile/2\" is newer than this "
                        "vitsim"));
  EXPECT_THAT(profile(R"({"schema": "vitsim-profile/1", "kind": "gpu", "name": )"),
              HasSubstr("rtx-3070.json:1: the file ends in the middle"));
  EXPECT_THAT(profile(R"({"schema": "vitsim-profile/1", "kind": "gpu", "nome": "rtx-3070"})"),
              HasSubstr("unknown key \"nome\" (did you mean \"name\"?)"));
}

TEST_F(BadInput, LogsThatCannotBeRead) {
  const auto refused = [&](const std::string& name, const std::string& content) {
    const ProgramRun run = import_log(name, content);
    EXPECT_EQ(run.exit_code, 2) << name << ": " << run.errors;
    EXPECT_FALSE(std::filesystem::exists(measurement())) << name;
    return run.errors;
  };
  EXPECT_THAT(refused("empty.log", ""), HasSubstr("empty.log"));
  EXPECT_THAT(refused("novel.log", "It was a dark and stormy night.\n"), HasSubstr("novel.log"));
  EXPECT_THAT(refused("binary.log", std::string("\0\1\2\3", 4)), HasSubstr("binary.log"));
  EXPECT_THAT(refused("m.json", R"({"schema": "vitsim-measurement/2"})"),
              HasSubstr("m.json: schema \"vitsim-measurement/2\" is of another vitsim"));
}

TEST_F(BadInput, MeasurementsAndProfilesOfAnotherDevice) {
  const auto measured = [&](const std::string& gpu, const std::string& device) {
    return folder_.write(gpu + device + ".json", to_text(small_measurement(gpu, device))).string();
  };
  const auto out = folder_.path() / "profiles";
  const auto fit = [&](std::vector<std::string> files) {
    files.insert(files.begin(), {"calibrate", "fit", "--out", out.string()});
    return run_vitsim(files);
  };
  const std::string xeon_a = measured("cpu-lab", "Xeon A");
  const std::string xeon_b = measured("cpu-lab", "Xeon B");

  const ProgramRun both = fit({xeon_a, xeon_b});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.errors, HasSubstr("Xeon B.json: \"cpu-lab\" is both \"Xeon A\" and \"Xeon B\""));
  const ProgramRun sheet = fit({measured("rtx-3070", "Xeon A")});
  EXPECT_EQ(sheet.exit_code, 2);
  EXPECT_THAT(
      sheet.errors,
      HasSubstr("\"rtx-3070\" was measured on \"Xeon A\", but its data sheet is of \"NVIDIA "
                "GeForce RTX 3070\""));
  EXPECT_FALSE(std::filesystem::exists(out));

  EXPECT_EQ(fit({xeon_a}).exit_code, 0);
  EXPECT_EQ(fit({xeon_a}).exit_code, 0);  // the same device: the newer profile
  const ProgramRun other = fit({xeon_b});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.errors,
              HasSubstr("cpu-lab.json: is the profile of \"Xeon A\", this measurement is of \"Xeon "
                        "B\""));
  EXPECT_THAT(file_text(out / "cpu-lab.json"), HasSubstr("Xeon A"));
}

// A log cut in the middle of a line still has all the steps before it.
TEST_F(BadInput, ALogCutInALineGivesItsWholeSteps) {
  const std::string log = file_text(VITSIM_SOURCE_DIR "/tests/golden/import/bars/bars.log");
  ASSERT_GT(log.size(), 200U);
  const ProgramRun run = import_log("cut.log", log.substr(0, log.size() - 60));
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(std::filesystem::exists(measurement()));
}

}  // namespace
}  // namespace vitsim::test
