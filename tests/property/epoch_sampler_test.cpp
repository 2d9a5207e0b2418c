#include "sim/sample/epoch_sampler.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/distribution.h"
#include "models/document/quantity_text.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"
#include "sim/sample/blocking_sampler.h"
#include "sim/sample/noise.h"
#include "sim/sample/random.h"
#include "sim/step/step_executor.h"

namespace vitsim {
namespace {

using ::testing::HasSubstr;

GpuProfile gpu(const std::string& name, double forward_ms, const Spread& spread) {
  GpuProfile profile{.name = name};
  StepCurve curve{.model = *vit_variant("vit-ti-16")};
  for (const std::int64_t batch : {4, 16}) {
    const double share = static_cast<double>(batch) / 16;
    curve.points.push_back({.micro_batch = batch,
                            .data_load = milliseconds(1 * share),
                            .forward = milliseconds(forward_ms * share),
                            .backward = milliseconds(2 * forward_ms * share),
                            .optimizer = milliseconds(3),
                            .other = milliseconds(2),
                            .count = 10});
  }
  profile.steps.push_back(curve);
  profile.spread = spread;
  return profile;
}

struct Cluster {
  ProfileSet profiles;
  Experiment experiment;
};

// `kinds` by rank, one GPU per node, equal links unless `uneven`.
Cluster cluster(const std::vector<std::pair<std::string, double>>& ranks,
                const Spread& spread,
                GradientSync sync,
                bool uneven = false) {
  Cluster result;
  for (const auto& [name, forward_ms] : ranks) {
    result.profiles.gpus[name] = gpu(name, forward_ms, spread);
    NodeSpec node{.name = "n" + std::to_string(result.experiment.cluster.nodes.size()),
                  .gpus = {{.model = name}}};
    if (uneven && result.experiment.cluster.nodes.empty()) {
      node.nic =
          LinkSpec{.bandwidth = BytesPerSecond(2e8), .latency = microseconds(50), .spread = 0};
    }
    result.experiment.cluster.nodes.push_back(node);
  }
  result.experiment.cluster.network =
      LinkSpec{.bandwidth = BytesPerSecond(1e9), .latency = microseconds(50), .spread = 0};
  TrainingSpec& training = result.experiment.training;
  training.model = *vit_variant("vit-ti-16");
  training.dataset = {.name = "any", .samples = 1000};
  training.micro_batch = {16};
  training.epochs = 3;
  training.gradient_sync = sync;
  return result;
}

// The engine, step by step, without noise.
double epoch_by_steps(const ResolvedExperiment& resolved) {
  const ResolvedJob& job = resolved.jobs.front();
  const StepProgram& short_step = job.last == nullptr ? *job.full : *job.last;
  StepExecutor full(job.group, *job.full);
  StepExecutor last(job.group, short_step);
  const OperationTicks full_ticks(*job.full);
  const OperationTicks last_ticks(short_step);
  std::vector<Tick> starts(job.world_size(), 0);
  for (std::int64_t step = 0; step + 1 < job.plan.steps; ++step) {
    full.run(full_ticks, starts, starts);
  }
  last.run(last_ticks, starts, starts);
  return to_seconds(*std::ranges::max_element(starts)).value();
}

constexpr Spread kExact{.step_sigma = 0.0, .unit_sigma = 0.0, .run_sigma = 0.0};

class SyncModes : public testing::TestWithParam<std::tuple<GradientSync, bool, int>> {};

// With all spreads zero the prediction is the engine's own epoch.
TEST_P(SyncModes, WithoutSpreadThePredictionIsTheEngineStepByStep) {
  const auto [sync, uneven, world] = GetParam();
  std::vector<std::pair<std::string, double>> ranks;
  for (int rank = 0; rank < world; ++rank) {
    ranks.emplace_back(rank % 3 == 1 ? "slow" : "fast", rank % 3 == 1 ? 25 : 10);
  }
  const Cluster lab = cluster(ranks, kExact, sync, uneven);
  const ResolvedExperiment resolved = resolve(lab.experiment, lab.profiles);
  const Report report = predict(resolved, {}).front();
  const double epoch = epoch_by_steps(resolved);
  // Overlapped and unequal steps settle over the first few steps of an epoch.
  const bool settles = sync == GradientSync::kDdp || uneven;
  EXPECT_NEAR(report.epoch_s.p50, epoch, epoch * (settles && world > 1 ? 0.01 : 1e-9));
  ASSERT_TRUE(report.epoch_s.p05);
  EXPECT_EQ(*report.epoch_s.p05, report.epoch_s.p50);
  EXPECT_EQ(*report.epoch_s.p95, report.epoch_s.p50);
}

INSTANTIATE_TEST_SUITE_P(All,
                         SyncModes,
                         testing::Combine(testing::Values(GradientSync::kDdp,
                                                          GradientSync::kDeepspeedZero0,
                                                          GradientSync::kDeepspeedZero1),
                                          testing::Bool(),
                                          testing::Values(1, 2, 5)));

// The short cut against what it cuts short: every rank's every step drawn by itself.
TEST(EpochSampler, IntegralsGiveTheDistributionOfDrawnSteps) {
  const Spread spread{.step_sigma = 0.03, .unit_sigma = 0.02, .run_sigma = 0.01, .run_degrees = 8};
  const Cluster lab = cluster(
      {{"a", 10}, {"b", 10.2}, {"c", 9.5}, {"d", 6}}, spread, GradientSync::kDeepspeedZero0);
  const ResolvedExperiment resolved = resolve(lab.experiment, lab.profiles);
  const ResolvedJob& job = resolved.jobs.front();
  constexpr int kReplicates = 1500;
  const Noise noise(job, 11, kReplicates);
  const auto sampler = make_epoch_sampler(job, noise);
  const auto full = rounds_of(job, *job.full);
  ASSERT_TRUE(full);
  ASSERT_EQ(full->size(), 1U);
  const auto last = rounds_of(job, *job.last);
  ASSERT_TRUE(last);

  std::vector<double> by_integral;
  std::vector<double> by_steps;
  for (int replicate = 0; replicate < kReplicates; ++replicate) {
    by_integral.push_back(sampler->sample(replicate).epoch_s.front());
    double epoch = 0;
    for (std::int64_t step = 0; step < job.plan.steps; ++step) {
      const bool is_last = step + 1 == job.plan.steps;
      const BlockingRound& round = is_last ? last->front() : full->front();
      const StepProgram& program = is_last ? *job.last : *job.full;
      double slowest = 0;
      for (std::size_t rank = 0; rank < job.world_size(); ++rank) {
        const std::size_t of = job.class_of[rank];
        slowest = std::max(slowest,
                           round.compute_s[program.class_of[rank]] *
                               noise.run_factor(noise.kind(of), replicate) *
                               noise.unit_factor(of, rank, replicate) *
                               noise.step_factor(of, rank, replicate, step));
      }
      epoch += slowest + round.communication_s;
    }
    by_steps.push_back(epoch);
  }
  std::ranges::sort(by_integral);
  std::ranges::sort(by_steps);
  // Both share the run's and the GPUs' factors, so that only the steps' draws differ: quantiles
  // must agree far closer than the spread of 2 %.
  for (const double p : {0.05, 0.25, 0.5, 0.75, 0.95}) {
    const double expected = quantile_of_sorted(by_steps, p);
    EXPECT_NEAR(quantile_of_sorted(by_integral, p), expected, 0.002 * expected) << p;
  }
}

TEST(EpochSampler, AFasterGpuNeverMakesASlowerEpoch) {
  for (const GradientSync sync : {GradientSync::kDdp, GradientSync::kDeepspeedZero0}) {
    double before = 1e9;
    for (const double forward_ms : {30.0, 20.0, 12.0, 10.0, 7.0}) {
      const Cluster lab = cluster(
          {{"a", 10}, {"b", forward_ms}, {"c", 10}}, kExact, sync, sync == GradientSync::kDdp);
      const double epoch = predict(resolve(lab.experiment, lab.profiles), {}).front().epoch_s.p50;
      EXPECT_LE(epoch, before * (1 + 1e-9)) << forward_ms;
      before = epoch;
    }
  }
}

// Flat copies cost 2 ms a step: DeepSpeed makes them on one GPU as well, a script without other
// ranks does not.
TEST(EpochSampler, OneRankUnderDdpCopiesNothing) {
  const auto copies = [&](GradientSync sync, int world) {
    const std::vector<std::pair<std::string, double>> ranks(static_cast<std::size_t>(world),
                                                            {"a", 10});
    const Cluster lab = cluster(ranks, kExact, sync);
    return predict(resolve(lab.experiment, lab.profiles), {}).front().phases.other_s;
  };
  EXPECT_EQ(copies(GradientSync::kDdp, 1), 0);
  EXPECT_NEAR(copies(GradientSync::kDdp, 2), 2e-3, 1e-9);
  EXPECT_NEAR(copies(GradientSync::kDeepspeedZero0, 1), 2e-3, 1e-9);
}

TEST(EpochSampler, PermutingEqualRanksChangesNothing) {
  const Spread spread{.step_sigma = 0.0, .unit_sigma = 0.0, .run_sigma = 0.02};
  const auto epoch = [&](const std::vector<std::pair<std::string, double>>& ranks) {
    const Cluster lab = cluster(ranks, spread, GradientSync::kDeepspeedZero0);
    return predict(resolve(lab.experiment, lab.profiles), {}).front().epoch_s.p50;
  };
  EXPECT_NEAR(
      epoch({{"a", 10}, {"b", 30}, {"a", 10}}), epoch({{"b", 30}, {"a", 10}, {"a", 10}}), 1e-3);
}

// Unknown spread: no interval, and the report says so.
TEST(EpochSampler, UnknownSpreadGivesNoInterval) {
  const Cluster lab = cluster({{"a", 10}, {"b", 12}}, {}, GradientSync::kDeepspeedZero0);
  const Report report = predict(resolve(lab.experiment, lab.profiles), {}).front();
  EXPECT_FALSE(report.epoch_s.p05);
  EXPECT_FALSE(report.epoch_s.p95);
  EXPECT_TRUE(std::ranges::any_of(report.warnings, [](const std::string& warning) {
    return warning.find("no interval") != std::string::npos;
  }));
}

// gain_s: an epoch of the slow rank's cluster less one in which it is as fast as the median.
TEST(EpochSampler, GainIsTheEpochWithoutTheStraggler) {
  const Cluster lab =
      cluster({{"a", 10}, {"slow", 30}, {"a", 10}}, kExact, GradientSync::kDeepspeedZero0);
  const Report report = predict(resolve(lab.experiment, lab.profiles), {}).front();
  const Cluster even =
      cluster({{"a", 10}, {"a", 10}, {"a", 10}}, kExact, GradientSync::kDeepspeedZero0);
  const Report faster = predict(resolve(even.experiment, even.profiles), {}).front();
  EXPECT_NEAR(report.ranks[1].gain_s, report.epoch_s.p50 - faster.epoch_s.p50, 1e-6);
  EXPECT_EQ(report.ranks[0].gain_s, 0);
  EXPECT_EQ(report.ranks[1].late_share, 1);
  EXPECT_NEAR(report.ranks[1].wait_s, 0, 1e-12);
}

// Of two ranks, 3.4 % apart, the slower one is last where its own factors do not make up for that.
TEST(EpochSampler, ARankIsLastAsOftenAsGpusAndStepsScatter) {
  const Spread spread{.step_sigma = 0.02, .unit_sigma = 0.03, .run_sigma = 0.0};
  // 30.0 and 31.0 ms forward: 96 and 99 ms with everything.
  const double expected =
      normal_cdf(std::log(99.0 / 96.0) / (std::numbers::sqrt2 * std::hypot(0.02, 0.03)));
  for (const GradientSync sync : {GradientSync::kDeepspeedZero0, GradientSync::kDdp}) {
    const Cluster lab = cluster({{"a", 30}, {"b", 31}}, spread, sync);
    const Report report = predict(resolve(lab.experiment, lab.profiles), {}).front();
    EXPECT_NEAR(report.ranks[1].late_share, expected, 0.02);
    EXPECT_NEAR(report.ranks[0].late_share, 1 - expected, 0.02);
  }
}

// Each kind has a factor of its own in a run, equal GPUs share theirs.
TEST(EpochSampler, RunsDecideWhichKindIsLastButNotWhichGpuOfAKind) {
  const Spread spread{.step_sigma = 0.0, .unit_sigma = 0.001, .run_sigma = 0.05};
  const Cluster lab =
      cluster({{"a", 30}, {"b", 31}, {"b", 31}}, spread, GradientSync::kDeepspeedZero0);
  const Report report = predict(resolve(lab.experiment, lab.profiles), {}).front();
  const double kind_b = normal_cdf(std::log(99.0 / 96.0) / (std::numbers::sqrt2 * 0.05));
  EXPECT_NEAR(report.ranks[1].late_share, kind_b / 2, 0.08);  // of 64 runs
  EXPECT_NEAR(report.ranks[1].late_share, report.ranks[2].late_share, 1e-9);
  EXPECT_GT(report.ranks[0].late_share, 0.1);
}

// What `ranks` (kind and forward time in ms) wait for, and by how much their epoch is longer than
// that of `faster`.
struct Blame {
  std::string sentence;
  std::string gain;
};

Blame blame(const std::vector<std::pair<std::string, double>>& ranks,
            const std::vector<std::pair<std::string, double>>& faster,
            GradientSync sync = GradientSync::kDeepspeedZero0) {
  const auto report = [&](const std::vector<std::pair<std::string, double>>& of) {
    const Cluster lab = cluster(of, kExact, sync);
    return predict(resolve(lab.experiment, lab.profiles), {}).front();
  };
  const Report slow = report(ranks);
  return {.sentence = verdict_sentence(slow),
          .gain = human(Seconds(slow.epoch_s.p50 - report(faster).epoch_s.p50))};
}

// Neither of two equally slow ranks gains anything alone.
TEST(Bottleneck, RanksThatAreEquallySlowAreNamedTogether) {
  for (const GradientSync sync : {GradientSync::kDeepspeedZero0, GradientSync::kDdp}) {
    const Blame found = blame({{"a", 10}, {"a", 10}, {"a", 10}, {"b", 90}, {"b", 90}},
                              {{"a", 10}, {"a", 10}, {"a", 10}, {"a", 10}, {"a", 10}},
                              sync);
    // Forward and backward of 10 and 20 ms, 1 ms to load, 3 and 2 ms after the reduction; 90, 180.
    EXPECT_THAT(
        found.sentence,
        HasSubstr("ranks 3 and 4 (b) are the stragglers: they compute for 276.0 ms of each"));
    EXPECT_THAT(found.sentence, HasSubstr("the median rank 36.0 ms. At that speed"));
    if (sync == GradientSync::kDeepspeedZero0) {
      EXPECT_THAT(found.sentence,
                  HasSubstr("At that speed an epoch would take " + found.gain + " less"));
    }
  }
}

// Without the slowest alone the second slowest would take its place: both kinds are named.
TEST(Bottleneck, KindsThatWouldTakeEachOthersPlaceAreNamedTogether) {
  const Blame found = blame({{"a", 10}, {"a", 10}, {"b", 90}, {"c", 88}, {"a", 10}},
                            {{"a", 10}, {"a", 10}, {"a", 10}, {"a", 10}, {"a", 10}});
  EXPECT_THAT(found.sentence,
              HasSubstr("rank 2 (b on n2), rank 3 (c on n3) are the stragglers: they compute for "
                        "270.0 ms to 276.0 ms of each"));
  EXPECT_THAT(found.sentence,
              HasSubstr("At that speed an epoch would take " + found.gain + " less"));
}

// A straggler is named alone although others are slower than the median too.
TEST(Bottleneck, TheOneThatExplainsHalfIsNamedAlone) {
  const Blame found = blame({{"a", 10}, {"a", 10}, {"a", 10}, {"b", 20}, {"c", 90}},
                            {{"a", 10}, {"a", 10}, {"a", 10}, {"b", 20}, {"b", 20}});
  EXPECT_THAT(found.sentence, HasSubstr("rank 4 (c on n4) is the straggler: it computes for"));
  EXPECT_THAT(found.sentence,
              HasSubstr("At that speed an epoch would take " + found.gain + " less"));
}

// The median rank is a slow one: the yardstick is then the others.
TEST(Bottleneck, ManySlowRanksAreComparedWithTheFewFastOnes) {
  const Blame found = blame({{"b", 90}, {"b", 90}, {"b", 90}, {"a", 10}},
                            {{"a", 10}, {"a", 10}, {"a", 10}, {"a", 10}});
  EXPECT_THAT(found.sentence,
              HasSubstr("ranks 0-2 (b) are the stragglers: they compute for 276.0 ms of each"));
  EXPECT_THAT(found.sentence, HasSubstr("the median of the other ranks 36.0 ms"));
  EXPECT_THAT(found.sentence,
              HasSubstr("At that speed an epoch would take " + found.gain + " less"));
}

// Of ranks closer than their spread the named one may not be the slowest.
TEST(Bottleneck, SaysWhereTheSpreadMayMakeAnotherTheSlowest) {
  const auto sentence = [](double unit_sigma) {
    const Spread spread{.step_sigma = 0.0, .unit_sigma = unit_sigma, .run_sigma = 0.0};
    const Cluster lab =
        cluster({{"a", 30}, {"b", 33}, {"c", 10}}, spread, GradientSync::kDeepspeedZero0);
    return verdict_sentence(predict(resolve(lab.experiment, lab.profiles), {}).front());
  };
  const std::string named = "rank 1 (b on n1) is the straggler: ";
  EXPECT_THAT(sentence(0.01), testing::StartsWith(named));
  EXPECT_THAT(sentence(0.01), testing::Not(HasSubstr("may be slower")));
  EXPECT_THAT(sentence(0.1), testing::StartsWith(named));
  EXPECT_THAT(sentence(0.1), HasSubstr(". In a new run rank 0 may be slower still"));
}

TEST(Bottleneck, EqualRanksHoldNobodyUp) {
  const std::vector<std::pair<std::string, double>> equal(4, {"a", 90});
  EXPECT_THAT(blame(equal, equal).sentence, testing::StartsWith("compute: "));
}

}  // namespace
}  // namespace vitsim
