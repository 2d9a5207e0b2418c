#include "sim/run/failures.h"

#include <cmath>

#include <gtest/gtest.h>

#include "models/error.h"
#include "models/vit/memory.h"

namespace vitsim {
namespace {

constexpr Seconds kDay{86'400};

FailingRun plain_run() {
  return {.work = Seconds(1000), .interval = Seconds(100), .checkpoint = Seconds(10), .speed = {}};
}

Seconds mean_total(const FailingRun& run, int histories) {
  Seconds sum;
  for (int i = 0; i < histories; ++i) {
    sum += simulate_failures(run, 7, i).total;
  }
  return sum / static_cast<double>(histories);
}

// 1000 s of training in intervals of 100 s: ten checkpoints of 10 s each.
TEST(Failures, WithoutAnyTheRunPaysItsCheckpoints) {
  const FailureHistory history = simulate_failures(plain_run(), 1, 0);
  EXPECT_DOUBLE_EQ(history.total.value(), 1100);
  EXPECT_DOUBLE_EQ(history.checkpoint.value(), 100);
  EXPECT_EQ(history.failures, 0);
}

// At 250 s two segments of 110 s are behind: 30 s are lost, then 60 s of restart. From 310 s on 800
// s of training and 8 checkpoints are left: the end is at 310 + 880 s.
TEST(Failures, AtAGivenTimeLosesWhatCameAfterTheLastCheckpoint) {
  FailingRun run = plain_run();
  run.given = {{.at = Seconds(250), .restart = Seconds(60)}};
  const FailureHistory history = simulate_failures(run, 1, 0);
  EXPECT_DOUBLE_EQ(history.lost.value(), 30);
  EXPECT_DOUBLE_EQ(history.restart.value(), 60);
  EXPECT_DOUBLE_EQ(history.total.value(), 1190);
  EXPECT_EQ(history.failures, 1);
}

// Without a checkpoint all 250 s are lost.
TEST(Failures, WithoutCheckpointsEverythingIsLost) {
  FailingRun run = plain_run();
  run.interval = Seconds(0);
  run.given = {{.at = Seconds(250), .restart = Seconds(60)}};
  const FailureHistory history = simulate_failures(run, 1, 0);
  EXPECT_DOUBLE_EQ(history.lost.value(), 250);
  EXPECT_DOUBLE_EQ(history.total.value(), 250 + 60 + 1000);
}

// Asynchronous checkpoints of 10 s at 100 and 200 s: at 205 s the second is not whole, so that 105
// s are lost. Training never stands still for one.
TEST(Failures, AnAsynchronousCheckpointCountsOnceItIsWhole) {
  FailingRun run = plain_run();
  run.is_asynchronous = true;
  run.given = {{.at = Seconds(205), .restart = Seconds(60)}};
  const FailureHistory history = simulate_failures(run, 1, 0);
  EXPECT_DOUBLE_EQ(history.lost.value(), 105);
  EXPECT_DOUBLE_EQ(history.checkpoint.value(), 0);
  EXPECT_DOUBLE_EQ(history.total.value(), 205 + 60 + 900);
}

// A second failure in the restart of the first begins it anew: 250 + 20 + 60 s, then 880 s.
TEST(Failures, ThatHitARestartBeginItAnew) {
  FailingRun run = plain_run();
  run.given = {{.at = Seconds(250), .restart = Seconds(60)},
               {.at = Seconds(270), .restart = Seconds(60)}};
  const FailureHistory history = simulate_failures(run, 1, 0);
  EXPECT_EQ(history.failures, 2);
  EXPECT_DOUBLE_EQ(history.restart.value(), 80);
  EXPECT_DOUBLE_EQ(history.total.value(), 330 + 880);
}

// The mean of 4000 histories beside the closed form. A run has some 12 failures, so that its
// standard deviation is about a tenth of its length: 0.5 % is three standard errors.
TEST(Failures, MeanRunTimeIsTheClosedForm) {
  FailingRun run{.work = Seconds(10'000),
                 .interval = Seconds(200),
                 .checkpoint = Seconds(20),
                 .mean_time_between = Seconds(1000),
                 .restart = Seconds(50),
                 .speed = {}};
  const Seconds expected = expected_run_time(run);
  // 1000 e^0.05 (e^0.22 - 1) 10,000 / 200.
  EXPECT_NEAR(expected.value(), 1000 * 1.0512711 * 0.2460767 * 50, 0.01);
  EXPECT_NEAR(mean_total(run, 4000) / expected, 1, 0.005);
}

// The share of time that Meta's research cluster would train at 1.80 h between failures with
// checkpoints of 5 min every 30 min and restarts of 10 min.
TEST(Failures, EffectiveShareOfALongRunIsTheClosedForm) {
  FailingRun run{.work = 20.0 * kDay,
                 .interval = Seconds(1800),
                 .checkpoint = Seconds(300),
                 .mean_time_between = Seconds(1.80 * 3600),
                 .restart = Seconds(600),
                 .speed = {}};
  const double share = run.work / expected_run_time(run);
  EXPECT_NEAR(run.work / mean_total(run, 200), share, 0.01 * share);
}

TEST(Failures, YoungAndDalyAreTheirFormulas) {
  // sqrt(2 x 10 x 2000) = 200; x = 10 / 4000: 200 (1 + 0.05 / 3 + 0.0025 / 9) - 10.
  EXPECT_DOUBLE_EQ(young_interval(Seconds(10), Seconds(2000)).value(), 200);
  EXPECT_NEAR(daly_interval(Seconds(10), Seconds(2000)).value(), 193.3889, 1e-3);
  EXPECT_DOUBLE_EQ(daly_interval(Seconds(500), Seconds(200)).value(), 200);
}

// The interval that is found, in the closed form, beside the best of a sweep of 2000 intervals.
TEST(Failures, BestIntervalIsWithinTwoPercentOfASweep) {
  for (const double cost : {5.0, 60.0, 600.0}) {
    FailingRun run{.work = 30.0 * kDay,
                   .checkpoint = Seconds(cost),
                   .mean_time_between = Seconds(3 * 3600),
                   .restart = Seconds(300),
                   .speed = {}};
    Seconds least(1e300);
    for (int i = 1; i <= 2000; ++i) {
      run.interval = Seconds(10.0 * i);
      least = std::min(least, expected_run_time(run));
    }
    run.interval = best_interval(run, 1);
    EXPECT_LT(expected_run_time(run) / least, 1.02) << cost;
    EXPECT_GT(run.interval / young_interval(Seconds(cost), *run.mean_time_between), 0.7) << cost;
    EXPECT_LT(run.interval / young_interval(Seconds(cost), *run.mean_time_between), 1.4) << cost;
  }
}

// Half of the speed from the first failure on, at 250 s: 200 s are done, 800 s take 1600 s.
TEST(Failures, ARunThatGoesOnWithoutWhatFailedIsSlower) {
  FailingRun run = plain_run();
  run.checkpoint = Seconds(0);
  run.given = {{.at = Seconds(250), .restart = Seconds(10)}};
  run.parts = 2;
  run.speed = [](int, std::int64_t failures) { return failures == 1 ? 0.5 : 1.0; };
  EXPECT_DOUBLE_EQ(simulate_failures(run, 1, 0).total.value(), 250 + 10 + 1600);
  run.given.push_back({.at = Seconds(300), .restart = Seconds(10)});
  EXPECT_THROW((void)simulate_failures(run, 1, 0), UserError);  // nobody is left
}

TEST(Failures, ARunThatNeverEndsIsTheUsersMistake) {
  FailingRun run = plain_run();
  run.mean_time_between = Seconds(5);
  EXPECT_THROW((void)simulate_failures(run, 1, 0), UserError);
}

// Weights and two moments in fp32; in bf16 weights of 2 bytes, masters of 4 and two moments.
TEST(Failures, ACheckpointWithAdamHasTwelveBytesAParameter) {
  TrainingSpec training{.model = *vit_variant("vit-b-16")};
  const auto count = static_cast<double>(parameter_count(training.model));
  EXPECT_DOUBLE_EQ(checkpoint_bytes(training).value(), 12 * count);
  training.precision = Precision::kBf16;
  EXPECT_DOUBLE_EQ(checkpoint_bytes(training).value(), 14 * count);
}

// Meta's rate of 6.50 failures in 1,000 node-days, nodes of 8: a node's mean time between failures
// is 1000 / 6.5 days. 16,384 GPUs are 2048 nodes, 131,072 are 16,384.
TEST(Failures, MetasFiguresFollowFromTheRateOfNodes) {
  const Seconds of_node = kDay * (1000 / 6.5);
  EXPECT_NEAR(of_node.value() / 2048 / 3600, 1.80, 0.005);
  EXPECT_NEAR(of_node.value() / 16'384 / 3600, 0.225, 0.0005);
}

}  // namespace
}  // namespace vitsim
