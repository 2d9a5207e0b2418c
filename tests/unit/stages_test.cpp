#include "sim/run/stages.h"

#include <array>

#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/planned_step.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::MicroBatchTicks;
using testing::PlannedJob;

constexpr Tick kMs = 1'000'000'000;

/// Two jobs of two ranks across one trunk of 1 GB/s: 10 ms of backward, then an AllReduce of 4 MB,
/// which takes 4 ms alone and 8 ms beside the other's. A step takes 14 or 18 ms, an epoch of 1000
/// steps 14 or 18 s.
class SharedTrunk : public ::testing::Test {
 protected:
  SharedTrunk() : network_(trunk()) {
    for (std::size_t job = 0; job < 2; ++job) {
      PlannedJob& plan = plans_.emplace_back();
      plan.ranks = {static_cast<std::int64_t>(2 * job), static_cast<std::int64_t>(2 * job + 1)};
      plan.sync = {.mode = GradientSync::kDeepspeedZero0, .buckets = {{.bytes = 4'000'000}}};
      plan.full.assign(2, {.micro_batches = std::span(&batch_, 1)});
      plan.steps = 1000;
      plan.epochs = 5;
    }
  }

  const std::vector<JobPlan>& plans() {
    built_.clear();
    for (const PlannedJob& job : plans_) {
      built_.push_back(job.plan(network_));
    }
    return built_;
  }

  static NetworkData trunk() {
    return testing::on_two_switches(testing::star(4, BytesPerSecond(1e9), Seconds(0)),
                                    BytesPerSecond(1e9));
  }

  // In phases, after it was held against the simulation of every message.
  std::vector<std::vector<Seconds>> epochs(const std::vector<Disturbance>& events = {}) {
    const std::vector<std::vector<Seconds>> found = StagedRun(network_, plans(), events).epochs();
    const std::vector<RunOutcome> whole = simulate_jobs(network_, plans(), events);
    for (std::size_t job = 0; job < 2; ++job) {
      EXPECT_EQ(found[job].size(), whole[job].epochs.size());
      for (std::size_t i = 0; i < found[job].size(); ++i) {
        // A change falls into one step of a thousand.
        EXPECT_NEAR(found[job][i].value(), whole[job].epochs[i].value(), 0.018)
            << "job " << job << ", epoch " << i;
      }
    }
    return found;
  }

  static void expect_epochs(const std::vector<Seconds>& found,
                            const std::vector<double>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].value(), expected[i], 1e-6) << i;
    }
  }

  MicroBatchTicks batch_{.backward = 10 * kMs};
  Network network_;
  std::vector<PlannedJob> plans_;
  std::vector<JobPlan> built_;  // outlives the runs that point into it
};

TEST_F(SharedTrunk, AJobThatEndsLeavesTheNetworkToTheOther) {
  plans_[0].epochs = 2;
  const auto found = epochs();
  expect_epochs(found[0], {18, 18});
  expect_epochs(found[1], {18, 18, 14, 14, 14});
}

// The second starts 2.8 s, 200 steps, into the first one's fourth epoch (42 to 56 s alone), of
// which 800 steps are left: 2.8 + 14.4 s. They end at 42 + 17.2 + 18 = 77.2 s; the second has done
// 1000 steps by 62.8 s, 800 more by 77.2 s and 200 alone by 80 s.
TEST_F(SharedTrunk, AJobThatStartsLaterDisturbsFromThenOn) {
  plans_[1].start = Seconds(44.8);
  plans_[1].epochs = 3;
  const auto found = epochs();
  expect_epochs(found[0], {14, 14, 14, 17.2, 18});
  expect_epochs(found[1], {18, 17.2, 14});
}

// Half a step apart they take turns: while one sends the other computes.
TEST_F(SharedTrunk, JobsThatTakeTurnsDoNotDisturbEachOther) {
  plans_[1].start = milliseconds(44'807);
  plans_[1].epochs = 3;
  const auto found = epochs();
  expect_epochs(found[0], {14, 14, 14, 14, 14});
  expect_epochs(found[1], {14, 14, 14});
}

// After 400 steps of 18 ms rank 0 stands still for 9.8 s, in which the other job makes 700 steps of
// 14 ms. The first then has 600 steps left: 7.2 + 9.8 + 10.8 = 27.8 s. The second ends its first
// epoch 600 steps into the pause: 7.2 + 8.4 = 15.6 s; 100 steps of its next one take 1.4 s, 900
// take 16.2 s.
TEST_F(SharedTrunk, APauseStopsOneJobAndFreesTheOther) {
  plans_[0].epochs = plans_[1].epochs = 3;
  const Disturbance pause{
      .what = Disturbance::What::kPause, .rank = 0, .from = Seconds(7.2), .to = Seconds(17)};
  StagedRun run(network_, plans(), {&pause, 1});
  const auto found = run.epochs();
  // The paused job's other rank has sent its share meanwhile: behind the pause the two do not send
  // at quite the same times, which phases do not see. Until then all is alike.
  const auto whole = simulate_jobs(network_, plans(), {&pause, 1});
  EXPECT_NEAR(found[1][0].value(), whole[1].epochs[0].value(), 0.018);
  EXPECT_NEAR(found[0][0].value(), 27.8, 1e-6);
  EXPECT_NEAR(found[1][0].value(), 15.6, 1e-6);
  EXPECT_NEAR(found[1][1].value(), 17.6, 1e-6);
  expect_epochs(run.epochs(0)[0], {18, 18, 18});  // without the pause
  expect_epochs(run.epochs(0)[1], {18, 18, 18});
}

// Twice as slow one rank computes for 20 ms, a step takes 24 ms: the 24 s hold the 1000 steps of
// the third epoch. The second job starts when the first is over, and is over before the second
// event.
TEST_F(SharedTrunk, ASlowdownLastsAsLongAsItLasts) {
  plans_[1].start = Seconds(100);
  plans_[1].epochs = 1;
  const auto found = epochs({{.what = Disturbance::What::kSlowdown,
                              .rank = 1,
                              .factor = 2,
                              .from = Seconds(28),
                              .to = Seconds(52)},
                             {.what = Disturbance::What::kSlowdown,
                              .rank = 0,
                              .factor = 3,
                              .from = Seconds(200),
                              .to = Seconds(300)}});
  expect_epochs(found[0], {14, 14, 24, 14, 14});
  expect_epochs(found[1], {14});
}

// At a quarter of its bandwidth the trunk takes 32 ms for both AllReduces: steps of 42 ms.
TEST_F(SharedTrunk, ASlowLinkLastsAsLongAsItLasts) {
  const auto found = epochs({{.what = Disturbance::What::kLink,
                              .links = network_.trunk_links("A", "B"),
                              .bandwidth = BytesPerSecond(2.5e8),
                              .from = Seconds(18),
                              .to = Seconds(60)}});
  expect_epochs(found[0], {18, 42, 18, 18, 18});
  expect_epochs(found[1], {18, 42, 18, 18, 18});
}

// Evaluation between epochs belongs to none.
TEST_F(SharedTrunk, WhatComesBetweenEpochsIsNotCounted) {
  plans_[0].after_epoch = plans_[1].after_epoch = 3000 * kMs;
  plans_[0].epochs = 2;  // over at 18 + 3 + 18 = 39 s
  const auto found = epochs();
  expect_epochs(found[0], {18, 18});
  expect_epochs(found[1], {18, 18, 14, 14, 14});
}

TEST_F(SharedTrunk, AShortLastStepIsPartOfAnEpoch) {
  const MicroBatchTicks half{.backward = 5 * kMs};
  for (PlannedJob& plan : plans_) {
    plan.last.assign(2, {.micro_batches = std::span(&half, 1)});
  }
  const StagedRun run(network_, plans(), {});
  EXPECT_NEAR(run.epoch_alone(0).value(), 999 * 0.014 + 0.009, 1e-9);
  // 999 steps of 18 ms and one of 13 ms; its share of the epoch is stretched like the others.
  EXPECT_NEAR(epochs()[0][0].value(), 999 * 0.018 + 0.013, 0.002);
}

TEST_F(SharedTrunk, WorkThatTakesNoTimeIsRefused) {
  batch_.backward = 0;
  plans_[0].sync.buckets.clear();
  EXPECT_THROW(StagedRun(network_, plans(), {}), UserError);
}

}  // namespace
}  // namespace vitsim
