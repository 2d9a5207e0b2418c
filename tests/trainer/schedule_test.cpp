#include "trainer/schedule.h"

#include <cmath>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

const OptimizerSpec kOptimizer{.lr = 0.4};

TEST(Schedule, NoneIsConstant) {
  EXPECT_EQ(learning_rate(kOptimizer, std::nullopt, 0, 100), 0.4);
  EXPECT_EQ(learning_rate(kOptimizer, std::nullopt, 99, 100), 0.4);
}

TEST(Schedule, WarmUpRisesLinearly) {
  const ScheduleSpec schedule{.warmup_steps = 4, .warmup_start = 0.2};
  // 0.4 x (0.2 + 0.8 x step / 4)
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 0, 100), 0.08);
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 1, 100), 0.16);
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 3, 100), 0.32);
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 4, 100), 0.4);
}

TEST(Schedule, WarmUpByLogarithmIsDeepSpeeds) {
  const ScheduleSpec schedule{.warmup_steps = 10, .warmup_log = true};
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 0, 100), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 4, 100), 0.4 * std::log(5) / std::log(10));
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 9, 100), 0.4);
}

TEST(Schedule, CosineFallsToItsFinalFraction) {
  const ScheduleSpec schedule{
      .kind = ScheduleKind::kCosine, .warmup_steps = 20, .final_fraction = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 20, 100), 0.4);
  // Half way, at 20 + 80 / 2, the cosine is zero: 0.4 x (0.1 + 0.9 / 2).
  EXPECT_NEAR(learning_rate(kOptimizer, schedule, 60, 100), 0.22, 1e-15);
  EXPECT_NEAR(learning_rate(kOptimizer, schedule, 100, 100), 0.04, 1e-15);
  EXPECT_NEAR(learning_rate(kOptimizer, schedule, 500, 100), 0.04, 1e-15);
}

TEST(Schedule, LineEndsAtItsOwnTotal) {
  const ScheduleSpec schedule{.kind = ScheduleKind::kLinear, .total_steps = 50};
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 10, 100), 0.32);  // 0.4 x (1 - 10 / 50)
  EXPECT_DOUBLE_EQ(learning_rate(kOptimizer, schedule, 50, 100), 0.0);
}

}  // namespace
}  // namespace vitsim
