#include "calibrate/measurement/measurement.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/broken_input.h"

namespace vitsim {
namespace {

using test::replaced;
using ::testing::HasSubstr;

Measurement example() {
  Measurement measurement{.device = "imported"};
  measurement.environment["deepspeed"] = "0.19.8";
  measurement.warnings = {"epoch 3 is short"};
  RecordedRun run{
      .name = "two", .cluster = "tesla", .link = "wire", .gpus = {"tesla-p4", "rtx-3070"}};
  run.model = *vit_variant("vit-s-16");
  run.precision = Precision::kAmpFp16;
  run.precision_inferred = true;
  run.optimizer = OptimizerKind::kSgd;
  run.gradient_sync = GradientSync::kDdp;
  run.micro_batch = {8, 24};
  run.accumulation = 2;
  run.epochs = 3;
  run.samples = 5000;
  run.qkv_split = QkvSplit::kUnbind;
  run.wall_clock_breakdown = false;
  measurement.runs.push_back(run);
  Sample step{.series = StepSeries{.rank = 1, .seconds = {0.1, 1.0 / 3.0, 1e-9}}, .run = "two"};
  step.other_text["clock"] = "own";
  step.warm_up = 1;
  step.disturbed = true;
  measurement.samples.push_back(step);
  measurement.samples.push_back({.series = MemoryReading{.bytes = {4165992448.0}}, .run = "two"});
  return measurement;
}

Measurement read(const std::string& text) {
  return measurement_from_text(text, "m.json");
}

std::string refusal(const std::string& text) {
  return test::refusal([&] { read(text); });
}

TEST(Measurement, ReadsWhatItWrote) {
  const Measurement back = read(to_text(example()));
  EXPECT_EQ(back.device, "imported");
  EXPECT_EQ(back.environment.at("deepspeed"), "0.19.8");
  EXPECT_EQ(back.warnings, example().warnings);
  ASSERT_EQ(back.runs.size(), 1U);
  const RecordedRun& run = back.runs.front();
  EXPECT_EQ(run.name, "two");
  EXPECT_EQ(run.cluster, "tesla");
  EXPECT_FALSE(run.one_node);
  EXPECT_EQ(run.link, "wire");
  EXPECT_EQ(run.gpus, (std::vector<std::string>{"tesla-p4", "rtx-3070"}));
  EXPECT_EQ(run.model, *vit_variant("vit-s-16"));
  EXPECT_EQ(run.precision, Precision::kAmpFp16);
  EXPECT_TRUE(run.precision_inferred);
  EXPECT_EQ(run.optimizer, OptimizerKind::kSgd);
  EXPECT_EQ(run.gradient_sync, GradientSync::kDdp);
  EXPECT_EQ(run.micro_batch, (std::vector<std::int64_t>{8, 24}));
  EXPECT_EQ(run.accumulation, 2);
  EXPECT_EQ(run.epochs, 3);
  EXPECT_EQ(run.samples, 5000);
  EXPECT_EQ(run.qkv_split, QkvSplit::kUnbind);
  EXPECT_FALSE(run.wall_clock_breakdown);
  ASSERT_EQ(back.samples.size(), 2U);
  const Sample& step = back.samples.front();
  ASSERT_NE(step.as<StepSeries>(), nullptr);
  EXPECT_EQ(step.run, "two");
  EXPECT_EQ(step.other_text.at("clock"), "own");
  EXPECT_EQ(step.as<StepSeries>()->rank, 1);
  EXPECT_EQ(step.as<StepSeries>()->seconds,
            (std::vector<double>{0.1, 1.0 / 3.0, 1e-9}));  // bit by bit
  EXPECT_EQ(step.warm_up, 1);
  EXPECT_TRUE(step.disturbed);
  ASSERT_NE(back.samples.back().as<MemoryReading>(), nullptr);
  EXPECT_EQ(back.samples.back().as<MemoryReading>()->bytes, std::vector<double>{4165992448.0});
}

TEST(Measurement, NamesTheUnitOfItsFigures) {
  const std::string text = to_text(example());
  EXPECT_THAT(text, HasSubstr("\"bytes\":[4165992448.0]"));
  EXPECT_THAT(text, HasSubstr("\"seconds\":[0.1,"));
}

TEST(Measurement, NamesTheLinkOfARun) {
  EXPECT_EQ(link_name({.cluster = "tesla"}), "tesla-ethernet");
  EXPECT_EQ(link_name({.cluster = "tesla", .one_node = true}), "tesla-node");
  EXPECT_EQ(link_name({.cluster = "tesla-node", .one_node = true}), "tesla-node");
  EXPECT_EQ(link_name({.cluster = "tesla", .one_node = true, .link = "nvlink"}), "nvlink");
  EXPECT_EQ(link_name({.one_node = true}), "node");
  EXPECT_EQ(link_name({}), "network");
}

TEST(Measurement, FindsARunByItsName) {
  const Measurement measurement = example();
  EXPECT_EQ(measurement.find_run("two"), &measurement.runs.front());
  EXPECT_EQ(measurement.find_run("one"), nullptr);
}

TEST(Measurement, RefusesAnEditedFigureOrConfiguration) {
  const std::string text = to_text(example());
  EXPECT_THAT(refusal(replaced(text, "[0.1,", "[0.2,")), HasSubstr("edited"));
  EXPECT_THAT(refusal(replaced(text, "\"rtx-3070\"", "\"rtx-3090\"")), HasSubstr("edited"));
  EXPECT_THAT(refusal(replaced(text, "\"imported\"", "\"Tesla T4\"")), HasSubstr("edited"));
}

TEST(Measurement, RefusesAFileCutAnywhere) {
  const std::string text = to_text(example());
  // The last byte is the newline after the closing brace: without it the file is whole.
  for (std::size_t length = 0; length + 1 < text.size(); ++length) {
    EXPECT_NE(refusal(text.substr(0, length)), "accepted") << length;
  }
}

TEST(Measurement, KeepsWhatDevicesCallThemselves) {
  Measurement measurement = example();
  add_devices(measurement, {{"cpu-lab", "Xeon A"}, {"cpu-attic", "Xeon B"}});
  add_devices(measurement, {{"cpu-lab", "Xeon A"}});
  const std::string text = to_text(measurement);
  EXPECT_EQ(measurement_from_text(text, "m.json").devices, measurement.devices);
  EXPECT_THAT(refusal(replaced(text, "Xeon A", "Xeon C")), HasSubstr("edited"));
}

TEST(Measurement, RefusesTwoDevicesUnderOneName) {
  Measurement measurement = example();
  add_devices(measurement, {{"cpu-lab", "Xeon A"}});
  try {
    add_devices(measurement, {{"cpu-lab", "Xeon B"}});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"cpu-lab\" is both \"Xeon A\" and \"Xeon B\""));
  }
}

TEST(Measurement, SurvivesReformatting) {
  const std::string text = to_text(example());
  EXPECT_EQ(refusal(replaced(text, "\"disturbed\":true", "\n \"disturbed\" : true")), "accepted");
}

TEST(Measurement, RefusesANewerSchemaBeforeAnythingElse) {
  const std::string text = replaced(to_text(example()), "measurement/1", "measurement/2");
  EXPECT_THAT(refusal(text), HasSubstr("vitsim-measurement/2"));
  EXPECT_THAT(refusal("{\"schema\": \"vitsim-profile/1\"}"), HasSubstr("not a measurement"));
  EXPECT_THAT(refusal("[1, 2]"), HasSubstr("not a measurement"));
}

TEST(Measurement, ReportsEveryWrongKeyAtOnce) {
  std::string text = replaced(to_text(example()), "\"epochs\":3", "\"epochs\":\"three\"");
  text = replaced(text, "\"ddp\"", "\"dpd\"");
  const std::string problems = refusal(text);
  EXPECT_THAT(problems, HasSubstr("m.json:6: /runs/0/epochs"));  // the first run's line
  EXPECT_THAT(problems, HasSubstr("\"dpd\""));
}

TEST(Measurement, PrintsBytesThatAreNoText) {
  Measurement measurement = example();
  measurement.environment["host"] = "\xff\xfe";
  measurement.runs.front().cluster = "\x80";
  EXPECT_EQ(refusal(to_text(measurement)), "accepted");
}

TEST(Measurement, WritesAFileAndLeavesNothingBeside) {
  const auto folder = std::filesystem::temp_directory_path() / "vitsim_measurement_test";
  std::filesystem::create_directories(folder);
  write_measurement(folder / "m.json", example());
  EXPECT_EQ(to_text(read_measurement(folder / "m.json")), to_text(example()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
  EXPECT_THROW(read_measurement(folder / "none.json"), UserError);
}

}  // namespace
}  // namespace vitsim
