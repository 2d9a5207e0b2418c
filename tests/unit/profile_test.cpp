#include "calibrate/profile/profile.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

GpuProfile full_gpu_profile() {
  StepCurve named{.model = *vit_variant("vit-b-16"), .precision = Precision::kFp16};
  named.points = {{.micro_batch = 16,
                   .data_load = Seconds(0.001),
                   .forward = Seconds(0.1),
                   .backward = Seconds(0.2),
                   .optimizer = Seconds(0.03),
                   .other = Seconds(0.004),
                   .count = 77}};
  StepCurve custom = named;
  custom.model = {.name = "mine",
                  .layers = 6,
                  .width = 192,
                  .heads = 3,
                  .mlp = 768,
                  .patch = 8,
                  .image_size = 64,
                  .channels = 1,
                  .classes = 100};
  GpuProfile profile{.name = "card", .device_name = "A Card", .memory = Bytes(8e9)};
  profile.provenance = {.sources = {"run-1", "run-2"}, .tool = "test", .created = "2026-11-21"};
  profile.steps = {named, custom};
  profile.operators = {{.kind = "forward",
                        .precision = Precision::kAmpFp16,
                        .flops_per_s = FlopsPerSecond(1.5e13),
                        .bytes_per_s = BytesPerSecond(4e11),
                        .overhead = Seconds(2e-6),
                        .fused_attention = false,
                        .error = 0.07},
                       {.kind = "optimizer", .bytes_per_s = BytesPerSecond(3e11)}};
  profile.rates = {{.precision = Precision::kBf16,
                    .gemm_forward = FlopsPerSecond(7e14),
                    .gemm_backward = FlopsPerSecond(6e14),
                    .attention = FlopsPerSecond(4e14),
                    .convolution = FlopsPerSecond(1e14),
                    .memory = BytesPerSecond(3e12),
                    .elements = 4e11,
                    .qkv_split = QkvSplit::kUnbind}};
  profile.overlap_slowdown = 1.25;
  profile.spread = {.step_sigma = 0.01, .unit_sigma = 0.0, .run_sigma = 0.02, .run_degrees = 5};
  profile.memory_constant = Bytes(7e8);
  profile.memory_alone = Bytes(1e7);
  profile.activation_factor = 1.1;
  profile.epoch_start = Seconds(0.5);
  profile.intra_node = "lab-node";
  profile.fit = {.runs = 9, .mean_abs_error = 0.012, .worst = -0.03};
  return profile;
}

// No field gets lost: what is read back writes the same text, and differs from a default's.
TEST(Profile, GpuProfileSurvivesTheFile) {
  const TemporaryFolder folder;
  const GpuProfile written = full_gpu_profile();
  write_profile(folder.path() / "card.json", written);
  const GpuProfile read = read_gpu_profile(folder.path() / "card.json");
  EXPECT_EQ(profile_text(read), profile_text(written));
  ASSERT_EQ(read.steps.size(), 2U);
  EXPECT_EQ(read.steps[0].model, written.steps[0].model);
  EXPECT_EQ(read.steps[1].model, written.steps[1].model);
  EXPECT_EQ(read.steps[0].precision, Precision::kFp16);
  EXPECT_EQ(read.steps[1].points[0].backward, Seconds(0.2));
  EXPECT_EQ(read.steps[1].points[0].count, 77);
  EXPECT_EQ(read.operators[0].kind, "forward");
  EXPECT_FALSE(read.operators[0].fused_attention);
  EXPECT_EQ(read.operators[0].error, 0.07);
  EXPECT_EQ(read.operators[1].flops_per_s, FlopsPerSecond(0));
  ASSERT_EQ(read.rates.size(), 1U);
  EXPECT_EQ(read.rates[0].gemm_backward, FlopsPerSecond(6e14));
  EXPECT_EQ(read.rates[0].qkv_split, QkvSplit::kUnbind);
  EXPECT_EQ(read.spread.unit_sigma, 0.0);
  EXPECT_EQ(read.spread.run_degrees, 5);
  EXPECT_EQ(read.memory_constant, Bytes(7e8));
  EXPECT_EQ(read.memory_alone, Bytes(1e7));
  EXPECT_EQ(read.epoch_start, Seconds(0.5));
  EXPECT_EQ(read.intra_node, "lab-node");
  EXPECT_EQ(read.fit.worst, -0.03);
  EXPECT_THAT(read.provenance.sources, ElementsAre("run-1", "run-2"));
}

// A name stands alone only where it is a variant's and the figures are the variant's.
TEST(Profile, ModelsOfEveryNameSurviveTheFile) {
  VitSpec cut_short = *vit_variant("vit-b-16");
  cut_short.layers = 6;
  const VitSpec no_name;  // written out with a variant's figures
  VitSpec one_channel = *vit_variant("vit-b-16");
  one_channel.channels = 1;
  GpuProfile profile{.name = "card"};
  for (const VitSpec& model : {*vit_variant("vit-b-16"), cut_short, no_name, one_channel}) {
    profile.steps.push_back(
        {.model = model,
         .points = {{.micro_batch = 1, .forward = Seconds(0.1), .backward = Seconds(0.2)}}});
  }
  const Part part = part_from_text(profile_text(profile), "card.json");
  const auto& read = std::get<GpuProfile>(part);
  ASSERT_EQ(read.steps.size(), profile.steps.size());
  for (std::size_t i = 0; i < profile.steps.size(); ++i) {
    EXPECT_EQ(read.steps[i].model, profile.steps[i].model) << i;
  }
}

TEST(Profile, UnknownSpreadStaysUnknown) {
  const TemporaryFolder folder;
  write_profile(folder.path() / "card.json", GpuProfile{.name = "card"});
  const GpuProfile read = read_gpu_profile(folder.path() / "card.json");
  EXPECT_FALSE(read.spread.step_sigma || read.spread.unit_sigma || read.spread.run_sigma);
  EXPECT_FALSE(read.memory || read.memory_constant);
}

TEST(Profile, LinkProfileSurvivesTheFile) {
  const TemporaryFolder folder;
  LinkProfile written{.name = "wire", .latency = Seconds(40e-6), .bandwidth = BytesPerSecond(1e9)};
  written.curve = {{Bytes(1e3), Seconds(30e-6), BytesPerSecond(1e8)},
                   {Bytes(1e6), Seconds(60e-6), BytesPerSecond(9e8)}};
  written.collective_overhead = Seconds(0.002);
  written.spread.run_sigma = 0.01;
  written.fit = {.runs = 4, .mean_abs_error = 0.005, .worst = 0.01};
  write_profile(folder.path() / "wire.json", written);
  const LinkProfile read = read_link_profile(folder.path() / "wire.json");
  EXPECT_EQ(profile_text(read), profile_text(written));
  EXPECT_EQ(read.curve.size(), 2U);
  EXPECT_EQ(read.latency, Seconds(40e-6));
  EXPECT_EQ(read.collective_overhead, Seconds(0.002));
}

TEST(Profile, LinkFiguresAreInterpolatedOnTheLogarithmOfTheSize) {
  LinkProfile link{.latency = Seconds(1), .bandwidth = BytesPerSecond(5)};
  EXPECT_EQ(link.at(Bytes(123)).bandwidth, BytesPerSecond(5));  // no curve: the same for all sizes
  link.curve = {{Bytes(100), Seconds(10), BytesPerSecond(1000)},
                {Bytes(10'000), Seconds(20), BytesPerSecond(3000)}};
  EXPECT_EQ(link.at(Bytes(1)).latency, Seconds(10));  // below the curve: its first point
  EXPECT_EQ(link.at(Bytes(100)).latency, Seconds(10));
  EXPECT_EQ(link.at(Bytes(10'000)).latency, Seconds(20));
  EXPECT_EQ(link.at(Bytes(1e9)).bandwidth, BytesPerSecond(3000));
  // 1000 is half way between 10^2 and 10^4.
  EXPECT_NEAR(link.at(Bytes(1000)).latency.value(), 15, 1e-12);
  EXPECT_NEAR(link.at(Bytes(1000)).bandwidth.value(), 2000, 1e-9);
}

std::string problem_of(const std::string& text) {
  try {
    part_from_text(text, "card.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Profile, RefusesANewerSchemaAndSaysSo) {
  EXPECT_EQ(problem_of(R"({"schema": "vitsim-profile/2", "kind": "gpu", "new_key": 1})"),
            "card.json:1: /schema: schema \"vitsim-profile/2\" is newer than this vitsim, which "
            "reads vitsim-profile/1: update vitsim");
  EXPECT_THAT(problem_of(R"({"schema": "vitsim-gpu/7", "name": "x"})"), HasSubstr("is newer than"));
  EXPECT_THAT(problem_of(R"({"schema": "vitsim-report/1"})"),
              HasSubstr("where vitsim-profile/1 is expected"));
}

TEST(Profile, ReportsWrongFiguresWithTheirPlaces) {
  const std::string problems = problem_of(R"({
  "schema": "vitsim-profile/1", "kind": "gpu", "name": "card",
  "steps": [{"model": "vit-b-61",
             "points": [{"micro_batch": 0, "forward_s": -1, "backward_s": 0},
                        {"micro_batch": 4, "forward_s": 1, "backward_s": 1, "optimiser_s": 1}]}],
  "spread": {"run_sigma": "a"}
})");
  EXPECT_THAT(problems, HasSubstr("card.json:3: /steps/0/model: unknown model \"vit-b-61\""));
  EXPECT_THAT(problems, HasSubstr("card.json:4: /steps/0/points/0/micro_batch: 0 is out of range"));
  EXPECT_THAT(problems, HasSubstr("/steps/0/points/0/forward_s: -1 is too small"));
  EXPECT_THAT(problems, HasSubstr("/steps/0/points/0/backward_s: 0 is too small"));
  EXPECT_THAT(problems,
              HasSubstr("card.json:5: /steps/0/points/1/optimiser_s: unknown key \"optimiser_s\" "
                        "(did you mean \"optimizer_s\"?)"));
  EXPECT_THAT(problems,
              HasSubstr("card.json:6: /spread/run_sigma: must be a number, not a string"));
}

// A rate of 0 means that the term is absent: a pass keeps one of its two, an update its only one.
TEST(Profile, ACurveWithoutAnyRateIsRefused) {
  const std::string problems = problem_of(R"({
  "schema": "vitsim-profile/1", "kind": "gpu", "name": "card",
  "operators": [{"kind": "forward", "flops_per_s": 1e13, "bytes_per_s": 0},
                {"kind": "forward", "bytes_per_s": 1e11},
                {"kind": "backward", "overhead_s": 1e-5},
                {"kind": "optimizer", "flops_per_s": 1e13, "bytes_per_s": 0}]
})");
  EXPECT_EQ(problems,
            "card.json:5: /operators/2: backward takes no time: flops_per_s or bytes_per_s must be "
            "above 0\n"
            "card.json:6: /operators/3: optimizer takes no time: bytes_per_s must be above 0");
}

TEST(Profile, AProfileOfTheOtherKindIsNamed) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "card.json";
  write_profile(file, GpuProfile{.name = "card"});
  try {
    (void)read_link_profile(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("is a GPU's profile, not a link's profile"));
  }
}

TEST(Profile, ALinkSheetIsRead) {
  const Part part = part_from_text(R"({"schema": "vitsim-link/1", "name": "wire", "kind": "nvlink",
    "bandwidth_bytes_per_s": 5e10, "latency_s": 1e-6, "switch_reduces": true,
    "switch_bandwidth_bytes_per_s": 4e10, "spread": 0.1, "source": "measured here"})",
                                   "wire.json");
  const auto& sheet = std::get<LinkSheet>(part);
  EXPECT_EQ(sheet.kind, LinkKind::kNvlink);
  EXPECT_EQ(sheet.bandwidth.value(), 5e10);
  EXPECT_EQ(sheet.latency.value(), 1e-6);
  EXPECT_EQ(sheet.switch_bandwidth->value(), 4e10);
  EXPECT_FALSE(sheet.through_host);
  EXPECT_EQ(sheet.spread, 0.1);
}

TEST(Profile, ALinkSheetWithMistakesIsRefused) {
  const std::string problems = problem_of(R"({"schema": "vitsim-link/1", "name": "wire",
    "kind": "nvlinc",
    "bandwidth_bytes_per_s": 0, "latency_s": -1,
    "switch_bandwidth_bytes_per_s": 4e10, "source": "measured here"})");
  EXPECT_THAT(problems, HasSubstr(":2: /kind: unknown word \"nvlinc\" (did you mean \"nvlink\"?)"));
  EXPECT_THAT(problems, HasSubstr(":3: /bandwidth_bytes_per_s: 0 is too small"));
  EXPECT_THAT(problems, HasSubstr(":3: /latency_s: -1 is too small"));
  EXPECT_THAT(problems,
              HasSubstr(":4: /switch_bandwidth_bytes_per_s: is given for a link whose "
                        "switch does not sum"));
  EXPECT_THAT(problems, HasSubstr("key \"spread\" is missing"));
}

}  // namespace
}  // namespace vitsim
