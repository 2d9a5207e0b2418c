#include "sim/assess/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "sim/render/comparison_text.h"

namespace vitsim {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Report report(double step_s, double backward_s) {
  Report report;
  report.epoch_s = {.mean = 100 * step_s, .p50 = 100 * step_s};
  report.step_s = {.mean = step_s, .p05 = 0.9 * step_s, .p50 = step_s, .p95 = 1.1 * step_s};
  report.total_s = {.mean = 1000 * step_s, .p50 = 1000 * step_s};
  report.phases.backward_s = backward_s;
  report.ranks = {
      {.rank = 0, .gpu = "fast", .compute_s = 0.5 * step_s, .wait_s = 0.4, .late_share = 0.1},
      {.rank = 1, .gpu = "slow", .compute_s = 0.9 * step_s, .wait_s = 0, .late_share = 0.9}};
  return report;
}

TEST(Compare, TotalsAreRelativeAndPartsCountByTheStep) {
  // Step 2.0 -> 2.2 is +10 %. Backward 0.01 -> 0.02 doubles, but that is 0.5 % of a step of 2 s.
  const Comparison comparison = compare(report(2.0, 0.01), report(2.2, 0.02));
  EXPECT_NEAR(comparison.find("step")->difference, 0.10, 1e-12);
  EXPECT_NEAR(comparison.find("backward")->difference, 0.005, 1e-12);
  // Compute of rank 1: 1.8 -> 1.98, 9 % of a step.
  EXPECT_NEAR(comparison.find("rank 1 (slow) compute")->difference, 0.09, 1e-12);
}

TEST(Compare, TheToleranceIsInclusiveAndSaysWhatIsBeyond) {
  const Comparison comparison = compare(report(2.0, 0.01), report(2.2, 0.01));
  EXPECT_TRUE(comparison.beyond(0.11).empty());
  // Total, epoch and step are 10 % apart; compute of the ranks 5 % and 9 % of a step.
  EXPECT_EQ(comparison.beyond(0.095).size(), 3U);
  EXPECT_EQ(comparison.beyond(0.08).size(), 4U);
  EXPECT_TRUE(compare(report(2.0, 0.01), report(2.0, 0.01)).beyond(0).empty());
}

TEST(Compare, TellsWhetherTheMeasurementFallsIntoTheInterval) {
  // The interval of a step of 2 s is 1.8 to 2.2 s.
  EXPECT_EQ(compare(report(2.0, 0.1), report(2.1, 0.1)).find("step")->inside(), true);
  EXPECT_EQ(compare(report(2.0, 0.1), report(2.3, 0.1)).find("step")->inside(), false);
  EXPECT_EQ(compare(report(2.0, 0.1), report(2.1, 0.1)).find("epoch")->inside(), std::nullopt);
}

TEST(Compare, NamesTheSlowestRankOfBoth) {
  Report other = report(2.0, 0.1);
  EXPECT_EQ(compare(report(2.0, 0.1), other).slowest_b, 1U);
  EXPECT_EQ(compare(report(2.0, 0.1), other).slowest_agree, true);
  std::swap(other.ranks[0].late_share, other.ranks[1].late_share);
  const Comparison comparison = compare(report(2.0, 0.1), other);
  EXPECT_EQ(comparison.slowest_b, 0U);
  EXPECT_EQ(comparison.slowest_agree, false);
  EXPECT_THAT(comparison_text(comparison, "predicted", "measured", 0.05),
              ContainsRegex("slowest rank +1 +0  not the same\n"));
}

TEST(Compare, NamesEveryRankThatMayBeTheSlowest) {
  Report predicted = report(2.0, 0.1);
  predicted.ranks[0].late_share = 0.25;
  predicted.ranks[1].late_share = 0.75;
  Report measured = predicted;
  std::swap(measured.ranks[0].late_share, measured.ranks[1].late_share);
  const Comparison comparison = compare(predicted, measured);
  EXPECT_THAT(comparison.named_a, ElementsAre(1, 0));
  EXPECT_EQ(comparison.slowest_agree, true);
  EXPECT_THAT(comparison_text(comparison, "predicted", "measured", 0.05),
              ContainsRegex("slowest rank +1 or 0 +0  one of these\n"));
  EXPECT_EQ(to_json(comparison, 0.05).at("slowest_rank").at("named"), (std::vector{1, 0}));
}

TEST(Compare, TakesEitherOfTwoEqualRanksForTheSlowest) {
  Report predicted = report(2.0, 0.1);
  predicted.ranks[0].gpu = "slow";
  Report measured = predicted;
  std::swap(measured.ranks[0].late_share, measured.ranks[1].late_share);
  EXPECT_EQ(compare(predicted, measured).slowest_agree, true);
  predicted.ranks[0].micro_batch = 2 * predicted.ranks[1].micro_batch + 1;
  EXPECT_EQ(compare(predicted, measured).slowest_agree, false);
}

TEST(Compare, LeavesOutWhatAReportDoesNotHold) {
  Report stopped = report(2.0, 0.1);
  stopped.epoch_s = {};
  stopped.ranks.pop_back();
  const Comparison comparison = compare(report(2.0, 0.1), stopped);
  EXPECT_EQ(comparison.find("epoch"), nullptr);
  EXPECT_EQ(comparison.find("rank 0 (fast) wait"), nullptr);
  EXPECT_EQ(comparison.notes.size(), 2U);
}

TEST(Compare, MemoryWithoutACalibratedConstantIsNotJudged) {
  Report a = report(2.0, 0.1);
  Report b = report(2.0, 0.1);
  for (auto* side : {&a, &b}) {
    side->ranks[0].memory.total_bytes = side == &a ? 1e9 : 2e9;
    side->ranks[0].memory.parts.constant = 1e8;
  }
  EXPECT_EQ(compare(a, b).beyond(0.5).size(), 1U);
  a.ranks[0].memory.parts.constant = 0;
  EXPECT_TRUE(compare(a, b).beyond(0.5).empty());
}

TEST(Compare, JsonSaysWhatIsWithin) {
  const auto json = to_json(compare(report(2.0, 0.1), report(2.2, 0.1)), 0.05);
  EXPECT_EQ(json.at("schema"), "vitsim-comparison/1");
  EXPECT_FALSE(json.at("within").get<bool>());
  EXPECT_EQ(json.at("slowest_rank").at("a"), 1);
}

TEST(Compare, NamesTheParametersThatDiffer) {
  Report a = report(2.0, 0.1);
  Report b = report(2.0, 0.1);
  a.resolved_json = R"({"training": {"epochs": 3, "dataset": {"path": "/a"}}, "seed": 1})";
  b.resolved_json = R"({"training": {"epochs": 4, "dataset": {"path": "/b"}}, "seed": 2})";
  const Comparison comparison = compare(a, b);
  ASSERT_EQ(comparison.parameters.size(), 1U);  // neither seeds nor paths make another training
  EXPECT_EQ(comparison.parameters[0].key, "training.epochs");
  EXPECT_THAT(comparison_text(comparison, "A", "B", 0.05),
              HasSubstr("training.epochs: 3 (A), 4 (B)"));
}

TEST(Compare, TextMarksWhatIsOutOfTolerance) {
  const Comparison comparison = compare(report(2.0, 0.1), report(2.3, 0.1));
  const std::string text = comparison_text(comparison, "predicted", "measured", 0.05);
  EXPECT_THAT(text, HasSubstr("+15.00 %"));
  EXPECT_THAT(text, HasSubstr("out of tolerance, outside 1.800 s"));
  EXPECT_THAT(text, HasSubstr("more than 5 % apart"));
}

TEST(ParseShare, TakesPercentAndNothingElse) {
  EXPECT_DOUBLE_EQ(parse_share("--tolerance", "5%"), 0.05);
  EXPECT_DOUBLE_EQ(parse_share("--tolerance", "2.5 %"), 0.025);
  for (const char* wrong : {"5", "", "%", "-1%", "nan%", "5%%", "five"}) {
    EXPECT_THROW(parse_share("--tolerance", wrong), UserError) << wrong;
  }
}

}  // namespace
}  // namespace vitsim
