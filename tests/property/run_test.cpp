#include "sim/run/run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>

#include <gtest/gtest.h>

#include "sim/run/stages.h"
#include "tests/support/planned_step.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::MicroBatchTicks;
using testing::PlannedJob;
using testing::RandomCluster;
using testing::RankTicks;

/// A random job that owns its micro-batches.
struct Job {
  std::deque<std::vector<MicroBatchTicks>> batches;
  PlannedJob plan;
};

std::vector<RankTicks> random_work(RandomCluster& random, Job& job, std::int64_t longest) {
  std::vector<RankTicks> work;
  for (std::size_t i = 0; i < job.plan.ranks.size(); ++i) {
    auto& batches = job.batches.emplace_back();
    for (std::int64_t m = random.between(0, 2); m > 0; --m) {
      batches.push_back({.data_load = random.between(0, 1'000'000),
                         .forward = random.between(0, longest),
                         .backward = random.between(0, 2 * longest)});
    }
    work.push_back({.micro_batches = batches, .optimizer = random.between(0, 10'000'000)});
  }
  return work;
}

void make_job(RandomCluster& random, std::vector<std::int64_t> ranks, Job& job) {
  job.plan.ranks = std::move(ranks);
  job.plan.sync.mode = static_cast<GradientSync>(random.between(0, 2));
  const std::int64_t buckets = random.between(1, 3);
  for (std::int64_t k = 1; k <= buckets; ++k) {
    job.plan.sync.buckets.push_back(
        {.bytes = random.between(1, 3'000'000),
         .ready_share = static_cast<double>(k) / static_cast<double>(buckets)});
  }
  if (random.chance(0.5)) {
    job.plan.sync.overlap_slowdown.assign(job.plan.ranks.size(), 1.2);
  }
  const std::int64_t longest = random.between(1, 20) * 1'000'000'000;
  job.plan.full = random_work(random, job, longest);
  if (random.chance(0.5)) {
    job.plan.last = random_work(random, job, longest);
  }
  job.plan.steps = random.between(1, 12);
  job.plan.epochs = random.between(1, 3);
  job.plan.after_epoch = random.chance(0.5) ? 0 : 1'000'000'000;
}

std::vector<Disturbance> random_events(RandomCluster& random, const Network& network) {
  std::vector<Disturbance> events;
  for (std::int64_t k = random.between(0, 3); k > 0; --k) {
    Disturbance event{.what = static_cast<Disturbance::What>(random.between(0, 2))};
    event.from = milliseconds(static_cast<double>(random.between(0, 500)));
    event.to = event.from + milliseconds(static_cast<double>(random.between(1, 300)));
    event.rank = random.between(0, network.world_size() - 1);
    event.factor = static_cast<double>(random.between(110, 300)) / 100;
    event.links = {static_cast<LinkId>(random.between(0, 1))};
    event.bandwidth = BytesPerSecond(static_cast<double>(random.between(1, 50)) * 1e6);
    events.push_back(event);
  }
  return events;
}

void expect_equal(const RunOutcome& a, const RunOutcome& b, bool links_change = false) {
  ASSERT_EQ(a.epochs.size(), b.epochs.size());
  for (std::size_t i = 0; i < a.epochs.size(); ++i) {
    // Epochs have clocks of their own in one, share the run's in the other.
    EXPECT_EQ(to_ticks(a.epochs[i]), to_ticks(b.epochs[i])) << "epoch " << i;
  }
  EXPECT_EQ(to_ticks(a.total), to_ticks(b.total));
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_NEAR(a.full_step.value(), b.full_step.value(), 1e-12);
  for (std::size_t i = 0; i < a.ranks.size(); ++i) {
    // Where links change, one measures a collective against the link as it is, the other as it was.
    if (!links_change) {
      EXPECT_NEAR(a.ranks[i].busy.value(), b.ranks[i].busy.value(), 1e-9);
      EXPECT_NEAR(a.ranks[i].exposed.value(), b.ranks[i].exposed.value(), 1e-9);
      EXPECT_NEAR(a.ranks[i].wait.value(), b.ranks[i].wait.value(), 1e-9);
    }
    EXPECT_NEAR(a.ranks[i].late_steps, b.ranks[i].late_steps, 1e-9);
  }
}

// Steps computed once and steps taken one by one equal one long simulation of every message, also
// when slowdowns, pauses and link changes fall anywhere.
TEST(RunProperty, StepwiseEqualsEventByEvent) {
  std::int64_t repeated = 0;
  for (std::uint64_t seed = 0; seed < 250; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 4), 1));
    Job job;
    make_job(random, testing::all_ranks(network.world_size()), job);
    const std::vector<Disturbance> events = random_events(random, network);
    const JobPlan plan = job.plan.plan(network);
    const RunOutcome stepwise = simulate_run(network, plan, events);
    repeated += stepwise.steps - stepwise.steps_computed;
    const bool links_change =
        std::any_of(events.begin(), events.end(), [](const Disturbance& event) {
          return event.what == Disturbance::What::kLink;
        });
    expect_equal(stepwise, simulate_jobs(network, {&plan, 1}, events).front(), links_change);
  }
  EXPECT_GT(repeated, 100);
}

// Two jobs on one switch do not disturb each other; each runs as if it were alone.
TEST(RunProperty, JobsOnTheirOwnLinksRunAsIfAlone) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    NetworkData data = testing::star(4, BytesPerSecond(1.25e9), microseconds(20));
    const Network network(data);
    Job first;
    Job second;
    make_job(random, {0, 1}, first);
    make_job(random, {3, 2}, second);
    const std::vector<JobPlan> both = {first.plan.plan(network), second.plan.plan(network)};
    const std::vector<RunOutcome> outcomes = simulate_jobs(network, both, {});
    expect_equal(outcomes[0], simulate_run(network, both[0]));
    expect_equal(outcomes[1], simulate_run(network, both[1]));
  }
}

// Random jobs across one trunk, with random starts and events: phases give the run that the
// simulation of every message gives, but for how the jobs happen to stand beside each other.
TEST(RunProperty, PhasesGiveTheRunOfEveryMessage) {
  double sum = 0;
  int count = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(testing::on_two_switches(
        testing::star(4, BytesPerSecond(1.25e9), microseconds(20)), BytesPerSecond(5e8)));
    std::array<Job, 2> jobs;
    std::vector<JobPlan> plans;
    for (std::size_t i = 0; i < 2; ++i) {
      make_job(random,
               {static_cast<std::int64_t>(2 * i), static_cast<std::int64_t>(2 * i + 1)},
               jobs[i]);
      jobs[i].plan.steps = random.between(200, 400);
      jobs[i].plan.epochs = random.between(2, 4);
      jobs[i].plan.start = Seconds(static_cast<double>(random.between(0, 5)));
      plans.push_back(jobs[i].plan.plan(network));
    }
    std::vector<Disturbance> events = random_events(random, network);
    for (Disturbance& event : events) {
      event.from = event.from * 10;
      event.to = event.to * 10;
      if (event.what == Disturbance::What::kLink) {
        event.links = network.trunk_links("A", "B");
        event.bandwidth = event.bandwidth * 5;
      }
    }
    const std::vector<RunOutcome> whole = simulate_jobs(network, plans, events);
    const auto phased = StagedRun(network, plans, events).epochs();
    for (std::size_t job = 0; job < 2; ++job) {
      ASSERT_EQ(phased[job].size(), whole[job].epochs.size());
      double total = 0;
      double exact = 0;
      for (std::size_t i = 0; i < phased[job].size(); ++i) {
        total += phased[job][i].value();
        exact += whole[job].epochs[i].value();
      }
      // Sending at once or by turns makes up to a quarter of a step where compute and sending are
      // alike.
      EXPECT_NEAR(total / exact, 1, 0.25) << "job " << job;
      sum += std::abs(total / exact - 1);
      ++count;
    }
  }
  EXPECT_LT(sum / count, 0.03);
}

}  // namespace
}  // namespace vitsim
