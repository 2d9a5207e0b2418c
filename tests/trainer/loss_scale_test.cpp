#include "trainer/loss_scale.h"

#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

TEST(LossScale, StartsAtItsPower) {
  EXPECT_EQ(LossScale({.initial_power = 16}).scale(), 65536);
  EXPECT_EQ(LossScale({.fixed = 128}).scale(), 128);
}

TEST(LossScale, HysteresisForgivesOverflowsBeforeItHalves) {
  LossScale scale({.initial_power = 4, .hysteresis = 2});
  scale.update(true);  // uses up the hysteresis
  EXPECT_EQ(scale.scale(), 16);
  scale.update(true);
  EXPECT_EQ(scale.scale(), 8);
  scale.update(true);  // it is not refilled by overflows
  EXPECT_EQ(scale.scale(), 4);
}

TEST(LossScale, DoublesAfterAWindow) {
  // Stable steps are counted as iteration - last overflow - 1, and the last overflow starts at -1:
  // iterations 0, 1, 2 have 0, 1, 2 stable steps before them, so the third update doubles.
  LossScale scale({.initial_power = 4, .window = 2, .hysteresis = 1});
  scale.update(false);
  scale.update(false);
  EXPECT_EQ(scale.scale(), 16);
  scale.update(false);
  EXPECT_EQ(scale.scale(), 32);
  scale.update(true);  // iteration 3
  EXPECT_EQ(scale.scale(), 16);
  scale.update(false);
  scale.update(false);
  EXPECT_EQ(scale.scale(), 16);
  scale.update(false);  // iteration 6: 6 - 3 - 1 = 2
  EXPECT_EQ(scale.scale(), 32);
}

TEST(LossScale, WindowRefillsTheHysteresis) {
  LossScale scale({.initial_power = 4, .window = 1, .hysteresis = 2});
  scale.update(true);  // uses it up at iteration 0
  scale.update(false);
  scale.update(false);  // iteration 2: one stable step, doubles and refills
  EXPECT_EQ(scale.scale(), 32);
  scale.update(true);
  EXPECT_EQ(scale.scale(), 32);
  scale.update(true);
  EXPECT_EQ(scale.scale(), 16);
}

TEST(LossScale, ConsecutiveHysteresisIsRefilledByAnyGoodStep) {
  LossScale scale({.initial_power = 4, .hysteresis = 2, .consecutive_hysteresis = true});
  for (int i = 0; i < 5; ++i) {
    scale.update(true);
    scale.update(false);
  }
  EXPECT_EQ(scale.scale(), 16);
}

TEST(LossScale, OverflowAtTheMinimumEndsTheRun) {
  LossScale scale({.initial_power = 1, .hysteresis = 1, .minimum = 1});
  scale.update(true);
  EXPECT_EQ(scale.scale(), 1);
  EXPECT_THROW(scale.update(true), DeviceError);
}

TEST(LossScale, FixedNeverMoves) {
  LossScale scale({.fixed = 64});
  scale.update(true);
  scale.update(true);
  EXPECT_EQ(scale.scale(), 64);
}

TEST(LossScale, GoesOnFromItsState) {
  LossScale one({.initial_power = 4, .window = 3, .hysteresis = 2});
  one.update(true);
  one.update(false);
  LossScale other({.initial_power = 4, .window = 3, .hysteresis = 2});
  other.restore(one.state());
  for (const bool overflow : {false, false, false, true, true, false}) {
    one.update(overflow);
    other.update(overflow);
    EXPECT_EQ(one.scale(), other.scale());
  }
}

}  // namespace
}  // namespace vitsim
