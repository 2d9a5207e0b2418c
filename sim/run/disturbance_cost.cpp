#include "sim/run/disturbance_cost.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "sim/run/job_plan.h"
#include "sim/run/stages.h"

namespace vitsim {

namespace {

// Of all runs together, with all disturbances and without each: seconds of computing. Beyond,
// phases are taken to go on as they begin.
constexpr double kMostMessages = 4e7;

std::string describe(const DisturbanceSpec& spec) {
  std::string when = fmt::format("from {} to {}", human(spec.from), human(spec.to));
  switch (spec.what) {
    case DisturbanceSpec::What::kSlowdown:
      return fmt::format("rank {} {:g} times slower {}", spec.rank, spec.factor, when);
    case DisturbanceSpec::What::kPause:
      return fmt::format("rank {} paused {}", spec.rank, when);
    case DisturbanceSpec::What::kFailure:
      return fmt::format("rank {} failed {}", spec.rank, when);
    case DisturbanceSpec::What::kLink:
      return fmt::format("{} at {} {}",
                         spec.node.empty() ? fmt::format("link {} - {}", spec.ends[0], spec.ends[1])
                                           : "network of " + spec.node,
                         human(spec.bandwidth),
                         when);
  }
  return when;
}

using JobEpochs = std::vector<std::vector<Seconds>>;  // by job

double total_seconds(const std::vector<Seconds>& epochs) {
  double total = 0;
  for (const Seconds epoch : epochs) {
    total += epoch.value();
  }
  return total;
}

// Of jobs whose every step is simulated message by message.
double message_count(const std::vector<JobPlan>& plans) {
  double count = 0;
  for (const JobPlan& plan : plans) {
    const auto ranks = static_cast<double>(plan.ranks.size());
    double calls = 0;
    for (const Operation& operation : plan.full->classes.front().operations) {
      calls += operation.compute() == nullptr ? 1 : 0;
    }
    count += static_cast<double>(plan.epochs) * static_cast<double>(plan.steps) *
             std::max(calls, 1.0) * 2 * (ranks - 1) * ranks;
  }
  return count;
}

// All runs of the jobs that an effect is told from: every epoch, without noise.
struct Runs {
  JobEpochs alone;
  JobEpochs disturbed;
  std::vector<JobEpochs> without;  // by disturbance
  bool in_stages = false;
};

Runs simulate_whole(const Network& network,
                    const std::vector<JobPlan>& plans,
                    const std::vector<Disturbance>& disturbances) {
  Runs runs;
  for (const JobPlan& plan : plans) {
    runs.alone.push_back(simulate_run(network, plan).epochs);
  }
  const auto together = [&](const std::vector<Disturbance>& now) {
    JobEpochs epochs;
    for (RunOutcome& outcome : plans.size() > 1
                                   ? simulate_jobs(network, plans, now)
                                   : std::vector{simulate_run(network, plans.front(), now)}) {
      epochs.push_back(std::move(outcome.epochs));
    }
    return epochs;
  };
  runs.disturbed = together(disturbances);
  for (std::size_t skipped = 0; skipped < disturbances.size(); ++skipped) {
    std::vector<Disturbance> others = disturbances;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(skipped));
    runs.without.push_back(together(others));
  }
  return runs;
}

Runs simulate_in_stages(const Network& network,
                        const std::vector<JobPlan>& plans,
                        const std::vector<Disturbance>& disturbances) {
  StagedRun run(network, plans, disturbances);
  Runs runs{.in_stages = true};
  for (std::size_t job = 0; job < plans.size(); ++job) {
    runs.alone.emplace_back(static_cast<std::size_t>(plans[job].epochs), run.epoch_alone(job));
  }
  runs.disturbed = run.epochs();
  for (std::size_t skipped = 0; skipped < disturbances.size(); ++skipped) {
    runs.without.push_back(run.epochs(skipped));
  }
  return runs;
}

}  // namespace

std::vector<DisturbanceEffect> disturbance_effects(const ResolvedExperiment& resolved) {
  std::vector<DisturbanceEffect> effects(resolved.jobs.size());
  std::vector<DisturbanceSpec> specs = resolved.experiment.events;
  std::erase_if(specs, [](const DisturbanceSpec& spec) {
    return spec.what == DisturbanceSpec::What::kFailure;  // told by the run's goodput
  });
  const bool shared = resolved.jobs.size() > 1;
  if (specs.empty() && !shared) {
    return effects;
  }
  const Network& network = *resolved.network;
  std::vector<JobPlan> plans;
  for (const ResolvedJob& job : resolved.jobs) {
    plans.push_back(job_plan(job));
  }
  const std::vector<Disturbance> all = disturbances(resolved);
  const double messages = message_count(plans) * static_cast<double>(1 + all.size());
  const Runs runs = shared && messages > kMostMessages ? simulate_in_stages(network, plans, all)
                                                       : simulate_whole(network, plans, all);
  for (std::size_t job = 0; job < effects.size(); ++job) {
    DisturbanceEffect& effect = effects[job];
    for (std::size_t epoch = 0; epoch < runs.alone[job].size(); ++epoch) {
      effect.epoch_s.push_back((runs.disturbed[job][epoch] - runs.alone[job][epoch]).value());
    }
    for (std::size_t disturbance = 0; disturbance < all.size(); ++disturbance) {
      effect.costs.push_back(
          {describe(specs[disturbance]),
           total_seconds(runs.disturbed[job]) - total_seconds(runs.without[disturbance][job])});
    }
    if (runs.in_stages) {
      effect.notes.emplace_back(
          "the jobs run together for too long to simulate every message: of each stretch of time "
          "in which "
          "the same jobs run under the same disturbances, some steps were, the others are taken to "
          "be "
          "alike");
    }
  }
  return effects;
}

}  // namespace vitsim
