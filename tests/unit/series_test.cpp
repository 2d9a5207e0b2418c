#include "calibrate/measurement/series.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

using ::testing::ElementsAre;

void expect_kept(const PlainSample& before) {
  const PlainSample after = plain(typed(before));
  EXPECT_TRUE(before.same_subject(after)) << before.what;
  EXPECT_EQ(before.figures, after.figures) << before.what;
}

TEST(Series, EveryKindIsKnownByItsName) {
  const Sample forward = typed({.what = "forward", .number = {{"rank", 3}}, .figures = {0.1, 0.2}});
  ASSERT_NE(forward.phase(StepPart::kForward), nullptr);
  EXPECT_EQ(forward.phase(StepPart::kBackward), nullptr);
  EXPECT_EQ(forward.rank(), 3);
  EXPECT_THAT(forward.figures(), ElementsAre(0.1, 0.2));

  const Sample scatter = typed({.what = "reduce_scatter",
                                .text = {{"gpu", "a100"}, {"place", "in-place"}},
                                .number = {{"bytes", 1024}, {"one_node", 1}},
                                .figures = {1e-5}});
  const CollectiveSeries* series = scatter.collective(MeasuredCollective::kReduceScatter);
  ASSERT_NE(series, nullptr);
  EXPECT_EQ(series->bytes, 1024);
  EXPECT_EQ(series->one_node, true);
  EXPECT_EQ(series->place, "in-place");
  EXPECT_FALSE(series->ranks);
  EXPECT_EQ(scatter.gpu(), "a100");

  const Sample memory =
      typed({.what = "memory",
             .number = {{"rank", 1}, {"allocated_bytes", 4e9}, {"capacity_bytes", 8e9}},
             .figures = {5e9}});
  ASSERT_NE(memory.as<MemoryReading>(), nullptr);
  EXPECT_EQ(memory.as<MemoryReading>()->bytes, std::vector<double>{5e9});
  EXPECT_EQ(memory.as<MemoryReading>()->capacity_bytes, 8e9);
  EXPECT_EQ(memory.as<MemoryReading>()->allocated_bytes, 4e9);
}

// A profiler's overlap is a part of the step, a measurement's is a pass beside communication.
TEST(Series, TellsTheTwoKindsOfOverlapApart) {
  const PlainSample profiled{.what = "overlap", .number = {{"rank", 0}}, .figures = {0.1}};
  EXPECT_NE(typed(profiled).phase(StepPart::kOverlap), nullptr);
  PlainSample measured = profiled;
  measured.text = {{"gpu", "cpu-a"}, {"state", "alone"}};
  EXPECT_NE(typed(measured).as<OverlapSeries>(), nullptr);
  expect_kept(measured);
}

// A file is written as it was read, whatever its parameters are: the checksum stands.
TEST(Series, KeepsWhatItDoesNotKnow) {
  expect_kept({.what = "forward", .figures = {0.1}});                           // without a rank
  expect_kept({.what = "forward", .number = {{"rank", 0.5}}, .figures = {1}});  // half a rank
  expect_kept({.what = "forward", .number = {{"rank", -0.0}}, .figures = {1}});
  expect_kept({.what = "weather", .text = {{"sky", "grey"}}, .figures = {1, 2}});
  expect_kept(
      {.what = "forward", .text = {{"unit", ""}, {"more", "x"}}, .number = {{"rank", 1e300}}});
  expect_kept({.what = "all_reduce",
               .text = {{"gpu", ""}},
               .number = {{"bytes", 4}, {"one_node", 2}, {"ranks", 1.5}}});
  const std::map<std::string, double> model = {{"layers", 12},
                                               {"width", 768},
                                               {"heads", 12},
                                               {"mlp", 3072},
                                               {"patch", 16},
                                               {"image_size", 224},
                                               {"batch", 8}};
  PlainSample pass{
      .what = "train_step", .text = {{"gpu", "card"}, {"precision", "fp32"}}, .number = model};
  expect_kept(pass);
  pass.number["classes"] = 1000;
  pass.text["optimizer"] = "shampoo";
  expect_kept(pass);
  pass.text["precision"] = "fp3";
  expect_kept(pass);
  EXPECT_EQ(typed(pass).as<PassSeries>(), nullptr);
}

TEST(Series, SettledFiguresComeAfterTheWarmUp) {
  Sample sample{.series = EpochSeries{.seconds = {3, 2, 1}}, .warm_up = 1};
  EXPECT_THAT(sample.settled(), ElementsAre(2, 1));
  sample.warm_up = 9;
  EXPECT_THAT(sample.settled(), ElementsAre(1));  // one is better than none
}

}  // namespace
}  // namespace vitsim
