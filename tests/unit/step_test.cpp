#include <array>
#include <limits>

#include <gtest/gtest.h>

#include "models/error.h"
#include "sim/run/run.h"
#include "sim/step/step_executor.h"
#include "tests/support/planned_step.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::MicroBatchTicks;
using testing::PlannedJob;
using testing::PlannedStep;
using testing::RankTicks;
using testing::StepOutcome;

constexpr Tick kMs = 1'000'000'000;

// Two machines at 1 GB/s without latency: an AllReduce of S bytes takes 2 x S/2 / 1 GB/s = S ns.
Network two_machines() {
  return Network(testing::star(2, BytesPerSecond(1e9), Seconds(0)));
}

/// One micro-batch each, no data loading.
struct Pair {
  std::array<MicroBatchTicks, 2> batches;
  std::vector<RankTicks> ranks;

  Pair(Tick first_backward, Tick second_backward, Tick optimizer = 0)
      : batches{MicroBatchTicks{.backward = first_backward},
                MicroBatchTicks{.backward = second_backward}} {
    for (const MicroBatchTicks& batch : batches) {
      ranks.push_back({.micro_batches = std::span(&batch, 1), .optimizer = optimizer});
    }
  }
};

const std::vector<Tick> kZero = {0, 0};

// 10 ms and 15 ms of backward, then 4 ms of AllReduce: the first waits 5 ms, both end at 19 + 1 ms.
TEST(Step, BlockingReductionWaitsForTheLast) {
  const Network network = two_machines();
  PlannedStep step(
      network, {0, 1}, {.mode = GradientSync::kDeepspeedZero0, .buckets = {{.bytes = 4'000'000}}});
  const Pair work(10 * kMs, 15 * kMs, kMs);
  const StepOutcome outcome = step.run(work.ranks, kZero);
  EXPECT_TRUE(step.by_arrays());
  EXPECT_EQ(outcome.ready, (std::vector<Tick>{10 * kMs, 15 * kMs}));
  EXPECT_EQ(outcome.sync_end, (std::vector<Tick>{19 * kMs, 19 * kMs}));
  EXPECT_EQ(outcome.end, (std::vector<Tick>{20 * kMs, 20 * kMs}));
  EXPECT_EQ(outcome.wait, (std::vector<Tick>{5 * kMs, 0}));
  EXPECT_EQ(outcome.exposed, (std::vector<Tick>{4 * kMs, 4 * kMs}));
  EXPECT_EQ(outcome.busy, (std::vector<Tick>{4 * kMs, 4 * kMs}));
}

// Buckets of 4 ms, ready after 5 and 10 ms of work, backward 1.25 times slower beside
// communication. Bucket 0 runs from 5 to 9 ms, in which 4 / 1.25 = 3.2 ms of work get done; the
// other 1.8 ms end at 10.8 ms. Bucket 1 runs from there to 14.8 ms.
TEST(Step, OverlapSlowsBackward) {
  const Network network = two_machines();
  PlannedStep step(network,
                   {0, 1},
                   {.buckets = {{.bytes = 4'000'000, .ready_share = 0.5}, {.bytes = 4'000'000}},
                    .overlap_slowdown = {1.25, 1.25}});
  const Pair work(10 * kMs, 10 * kMs);
  const StepOutcome outcome = step.run(work.ranks, kZero);
  EXPECT_EQ(outcome.ready[0], 10'800'000'000);
  EXPECT_EQ(outcome.end[0], 14'800'000'000);
  EXPECT_EQ(outcome.exposed[0], 4 * kMs);
  EXPECT_EQ(outcome.busy[0], 8 * kMs);
  EXPECT_EQ(outcome.wait[0], 0);
}

// AllReduce of 4 MB: 2 x 2 ms; half of a 2 ms update; all-gather 1 x 2 ms.
TEST(Step, Zero1ReducesEverywhereAndGathersAfterTheOptimizer) {
  const Network network = two_machines();
  PlannedStep step(
      network, {0, 1}, {.mode = GradientSync::kDeepspeedZero1, .buckets = {{.bytes = 4'000'000}}});
  const Pair work(10 * kMs, 10 * kMs, 2 * kMs);
  const StepOutcome outcome = step.run(work.ranks, kZero);
  EXPECT_EQ(outcome.sync_end[0], 14 * kMs);
  EXPECT_EQ(outcome.end[0], 17 * kMs);
  EXPECT_EQ(outcome.exposed[0], 6 * kMs);
}

// Reduce-scatter of 4 MB: 1 x 2 ms; half of a 2 ms update; all-gather 2 ms.
TEST(Step, TheDistributedOptimizerGathersAfterTheUpdate) {
  const Network network = two_machines();
  PlannedStep step(
      network,
      {0, 1},
      {.mode = GradientSync::kDistributedOptimizer, .buckets = {{.bytes = 4'000'000}}});
  const Pair work(10 * kMs, 10 * kMs, 2 * kMs);
  const StepOutcome outcome = step.run(work.ranks, kZero);
  EXPECT_EQ(outcome.sync_end[0], 12 * kMs);
  EXPECT_EQ(outcome.end[0], 15 * kMs);
  EXPECT_EQ(outcome.exposed[0], 4 * kMs);
}

// A rank without micro-batches in a short last step is ready at once and waits.
TEST(Step, ShortStepMayLeaveARankWithNothing) {
  const Network network = two_machines();
  PlannedStep step(network, {0, 1}, {.buckets = {{.bytes = 4'000'000}}});
  Pair work(10 * kMs, 0);
  work.ranks[1].micro_batches = {};
  const StepOutcome outcome = step.run(work.ranks, kZero);
  EXPECT_EQ(outcome.ready, (std::vector<Tick>{10 * kMs, 0}));
  EXPECT_EQ(outcome.end, (std::vector<Tick>{14 * kMs, 14 * kMs}));
  EXPECT_EQ(outcome.wait[1], 10 * kMs);
}

TEST(Step, OneRankDoesNotCommunicate) {
  const Network network = two_machines();
  PlannedStep step(network, {1}, {.buckets = {{.bytes = 4'000'000}}});
  const Pair work(10 * kMs, 0);
  EXPECT_EQ(step.run(std::span(work.ranks).first(1), std::span(kZero).first(1)).end[0], 10 * kMs);
}

// Half speed from 2 to 6 ms: 2 + 4 (2 of work) + 6 = 12 ms. A pause from 3 to 5 ms: 12 ms too.
TEST(Step, SlowdownsStretchWhatFallsInside) {
  const Network network = two_machines();
  PlannedStep step(network, {0, 1}, {.buckets = {{.bytes = 4'000'000}}});
  step.set_speed(0, {{.from = 2 * kMs, .to = 6 * kMs, .factor = 2}});
  step.set_speed(
      1, {{.from = 3 * kMs, .to = 5 * kMs, .factor = std::numeric_limits<double>::infinity()}});
  const Pair work(10 * kMs, 10 * kMs);
  EXPECT_EQ(step.run(work.ranks, kZero).ready, (std::vector<Tick>{12 * kMs, 12 * kMs}));
}

TEST(Step, DeepspeedReducesHalfABillionElementsAtATime) {
  const std::vector<SyncBucket> buckets = flat_buckets(1'200'000'000, 4);
  ASSERT_EQ(buckets.size(), 3U);
  EXPECT_EQ(buckets[0].bytes, 2'000'000'000);
  EXPECT_EQ(buckets[2].bytes, 800'000'000);
}

TEST(Step, RefusesTimesBeyondTheClock) {
  const Network network = two_machines();
  PlannedStep step(network, {0, 1}, {});
  const Tick month = 30 * 86'400 * kTicksPerSecond / 2;
  const std::vector<MicroBatchTicks> batches(5, {.forward = month});
  const std::vector<RankTicks> work(2, {.micro_batches = batches});
  EXPECT_THROW(step.run(work, kZero), UserError);
  EXPECT_THROW(step.run_events(work, kZero), UserError);
}

TEST(Step, RefusesImpossiblePlans) {
  const Network network = two_machines();
  EXPECT_THROW(PlannedStep(network, {0, 0}, {}), UserError);
  EXPECT_THROW(PlannedStep(network, {0, 2}, {}), UserError);
  EXPECT_THROW(PlannedStep(network, {0, 1}, {.buckets = {{.bytes = -1}}}), UserError);
  EXPECT_THROW(PlannedStep(network, {0, 1}, {.overlap_slowdown = {1}}), UserError);
}

/// 100 steps of 10 ms and 4 ms of AllReduce.
PlannedJob hundred_steps(const Pair& work) {
  return {.ranks = {0, 1},
          .sync = {.mode = GradientSync::kDeepspeedZero0, .buckets = {{.bytes = 4'000'000}}},
          .full = work.ranks,
          .steps = 100,
          .epochs = 2,
          .after_epoch = 5 * kMs};
}

TEST(Run, RepeatedStepsAreComputedOnce) {
  const Network network = two_machines();
  const Pair work(10 * kMs, 8 * kMs);
  const RunOutcome run = simulate_run(network, hundred_steps(work).plan(network));
  EXPECT_EQ(run.steps, 200);
  EXPECT_EQ(run.steps_computed, 1);
  ASSERT_EQ(run.epochs.size(), 2U);
  EXPECT_DOUBLE_EQ(run.epochs[0].value(), 1.4);
  EXPECT_DOUBLE_EQ(run.total.value(), 2.81);
  EXPECT_DOUBLE_EQ(run.full_step.value(), 0.014);
  EXPECT_DOUBLE_EQ(run.ranks[1].wait.value(), 200 * 0.002);
  EXPECT_DOUBLE_EQ(run.ranks[0].late_steps, 200);
}

// The NIC of machine 0 at a tenth from 0.14 s to 0.28 s. Ten steps fit before. Then 10 ms + 40 ms
// each: steps from 0.14 and 0.19 end at 0.19 and 0.24; the next computes until 0.25, sends 3 MB
// (30 ms at 0.1 GB/s) until 0.28 and the last 1 MB in 1 ms: 0.281 s. 87 steps of 14 ms are left:
// 1.499 s, 99 ms more than without.
TEST(Run, ALinkDegradesAndRecovers) {
  const Network network = two_machines();
  const Pair work(10 * kMs, 10 * kMs);
  const JobPlan job = hundred_steps(work).plan(network);
  const Disturbance event{.what = Disturbance::What::kLink,
                          .links = network.nic_links("node0"),
                          .bandwidth = BytesPerSecond(1e8),
                          .from = milliseconds(140),
                          .to = milliseconds(280)};
  const RunOutcome run = simulate_run(network, job, {&event, 1});
  EXPECT_NEAR(run.epochs[0].value(), 1.499, 1e-12);
  EXPECT_NEAR(run.epochs[1].value(), 1.4, 1e-12);
  EXPECT_LT(run.steps_computed, 20);
}

// Of 100 steps every fourth reduces 8 MB instead of 4: 18 ms instead of 14. 75 x 14 + 25 x 18 ms
// an epoch, and 5 ms behind the first. Message by message it is the same.
TEST(Run, RareStepsComeInTheirTurn) {
  const Network network = two_machines();
  const Pair work(10 * kMs, 10 * kMs);
  JobPlan job = hundred_steps(work).plan(network);
  PlannedJob larger = hundred_steps(work);
  larger.sync.buckets = {{.bytes = 8'000'000}};
  job.rare.push_back(
      {.full = larger.plan(network).full, .last = nullptr, .from = 0, .to = 200, .every = 4});
  const RunOutcome run = simulate_run(network, job);
  EXPECT_DOUBLE_EQ(run.epochs[0].value(), 1.5);
  EXPECT_DOUBLE_EQ(run.epochs[1].value(), 1.5);
  EXPECT_DOUBLE_EQ(run.full_step.value(), 0.015);
  EXPECT_DOUBLE_EQ(simulate_jobs(network, {&job, 1}).front().total.value(), run.total.value());
  // Only in the first epoch.
  job.rare[0].to = 100;
  EXPECT_DOUBLE_EQ(simulate_run(network, job).epochs[1].value(), 1.4);
}

// Steps 3, 7, 11, ... are claimed: from 0 on three are alike, from 3 on one.
TEST(RareProgram, TellsHowManyStepsAreAlike) {
  const std::vector<RareProgram> rare = {
      {.full = nullptr, .last = nullptr, .from = 0, .to = 20, .every = 4}};
  EXPECT_EQ(rare_kind(rare, 0), nullptr);
  EXPECT_EQ(rare_kind(rare, 3), &rare[0]);
  EXPECT_EQ(steps_alike(rare, 0), 3);
  EXPECT_EQ(steps_alike(rare, 3), 1);
  EXPECT_EQ(steps_alike(rare, 4), 3);
  EXPECT_GT(steps_alike(rare, 20), 1'000'000);
  EXPECT_TRUE(epochs_alike(rare, 8, 0, 8));    // two rounds each
  EXPECT_FALSE(epochs_alike(rare, 6, 0, 6));   // a round and a half
  EXPECT_FALSE(epochs_alike(rare, 8, 8, 16));  // the second goes on behind the last claimed step
}

// Two jobs cross one trunk of 1 GB/s between two switches, in both directions: each AllReduce of
// 4 MB takes twice its 4 ms while the other runs too.
TEST(Run, JobsShareATrunk) {
  const Network network(testing::on_two_switches(testing::star(4, BytesPerSecond(1e9), Seconds(0)),
                                                 BytesPerSecond(1e9)));
  const Pair work(10 * kMs, 10 * kMs);
  PlannedJob other = hundred_steps(work);
  other.ranks = {2, 3};
  const std::vector<JobPlan> jobs = {hundred_steps(work).plan(network), other.plan(network)};
  const std::vector<RunOutcome> outcomes = simulate_jobs(network, jobs);
  EXPECT_DOUBLE_EQ(outcomes[0].epochs[0].value(), 1.8);
  EXPECT_DOUBLE_EQ(outcomes[1].epochs[1].value(), 1.8);
  EXPECT_THROW(simulate_jobs(network, std::vector<JobPlan>(2, jobs[0])), UserError);
}

}  // namespace
}  // namespace vitsim
