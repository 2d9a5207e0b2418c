#include "models/experiment/epoch.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

TEST(Epoch, TheFractionIsTheDecimalThatWasWritten) {
  // In binary 0.07 x 50,000 is 3500.0000000000005 and 0.29 x 100 is 28.999999999999996.
  EXPECT_EQ(subset_samples(50'000, 0.07), 3'500);
  EXPECT_EQ(subset_samples(100, 0.29), 29);
  EXPECT_EQ(subset_samples(50'000, 1), 50'000);
  EXPECT_EQ(subset_samples(50'000, 0.5), 25'000);
  EXPECT_EQ(subset_samples(7, 0.5), 3);  // floor
  EXPECT_EQ(subset_samples(1'000'000, 1e-6), 1);
  EXPECT_EQ(subset_samples(50'000, 2.5), 125'000);
}

// The released run on five GPUs: 25,000 samples are 5,000 per rank, ceil(5000 / 16) = 313 steps, of
// which the last has 5000 - 312 x 16 = 8 samples.
TEST(Epoch, TheMixedClustersRun) {
  const EpochPlan plan = plan_epoch(25'000, 5, std::array<std::int64_t, 1>{16}, 1);
  EXPECT_EQ(plan.steps, 313);
  EXPECT_EQ(plan.samples, 25'000);
  EXPECT_EQ(plan.full[4], (StepShape{.count = 1, .size = 16, .last = 16}));
  EXPECT_EQ(plan.last[4], (StepShape{.count = 1, .size = 16, .last = 8}));
  EXPECT_TRUE(plan.last_is_short());
}

// 10 samples on 3 ranks pad to 4 each; 2 x 2 samples a step leave no short step.
TEST(Epoch, PaddingAndAccumulation) {
  const EpochPlan plan = plan_epoch(10, 3, std::array<std::int64_t, 1>{2}, 2);
  EXPECT_EQ(plan.samples, 12);
  EXPECT_EQ(plan.steps, 1);
  EXPECT_FALSE(plan.last_is_short());
  // With 7 per rank: one step of 4, then 3 in micro-batches of 2 and 1.
  const EpochPlan more = plan_epoch(21, 3, std::array<std::int64_t, 1>{2}, 2);
  EXPECT_EQ(more.steps, 2);
  EXPECT_EQ(more.last[0], (StepShape{.count = 2, .size = 2, .last = 1}));
}

// Micro-batches 5, 16, 16, 16: 53 samples a step. 100 samples: 2 steps, 47 left, dealt as
// 47 x 5/53 = 4.43 and three of 47 x 16/53 = 14.19; floors 4, 14, 14, 14 leave one for the largest
// remainder, rank 0.
TEST(Epoch, UnequalMicroBatchesAreDealtByLargestRemainder) {
  const EpochPlan plan = plan_epoch(100, 4, std::array<std::int64_t, 4>{5, 16, 16, 16}, 1);
  EXPECT_EQ(plan.steps, 2);
  EXPECT_EQ(plan.samples, 100);
  std::vector<std::int64_t> last;
  for (const StepShape& shape : plan.last) {
    last.push_back(shape.samples());
  }
  EXPECT_THAT(last, ::testing::ElementsAre(5, 14, 14, 14));
}

// 1 sample left for two ranks of 1 and 1 and one of 2: remainders 0.25, 0.25, 0.5.
TEST(Epoch, ARankMayHaveNothingInAShortStep) {
  const EpochPlan plan = plan_epoch(5, 3, std::array<std::int64_t, 3>{1, 1, 2}, 1);
  EXPECT_EQ(plan.steps, 2);
  EXPECT_EQ(plan.last[0].samples(), 0);
  EXPECT_EQ(plan.last[0].count, 0);
  EXPECT_EQ(plan.last[1].samples(), 0);
  EXPECT_EQ(plan.last[2].samples(), 1);
}

TEST(Epoch, OneNumberForAllEqualsAListOfTheSame) {
  const EpochPlan one = plan_epoch(1001, 3, std::array<std::int64_t, 1>{8}, 2);
  const EpochPlan list = plan_epoch(1001, 3, std::array<std::int64_t, 3>{8, 8, 8}, 2);
  EXPECT_EQ(one.steps, list.steps);
  EXPECT_EQ(one.last, list.last);
  EXPECT_EQ(one.full, list.full);
}

}  // namespace
}  // namespace vitsim
