#include "sim/event_cost.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/quantity_text.h"
#include "sim/step_time.h"

namespace vitsim {

namespace {

// A run is simulated message by message where jobs share links: this many messages at most, then
// epochs are cut, since one epoch beside the others is like the next.
constexpr double kMostMessages = 4e6;

// A job's plan and the work it points into.
struct PlannedJob {
  StepWork full;
  StepWork last;
  JobPlan plan;
};

Seconds longest_epoch_start(const Scenario& scenario) {
  Seconds start;
  for (const ScenarioRank& rank : scenario.ranks) {
    start = std::max(start, rank.compute->epoch_start);
  }
  return start;
}

std::unique_ptr<PlannedJob> plan_job(const Scenario& scenario) {
  auto job = std::make_unique<PlannedJob>(PlannedJob{
      .full = {scenario, scenario.plan.full},
        .last = {scenario, scenario.plan.last},
        .plan = {                    }
  });
  for (const ScenarioRank& rank : scenario.ranks) {
    job->plan.ranks.push_back(rank.cluster_rank);
  }
  job->plan.sync = sync_plan(scenario);
  job->plan.full.assign(job->full.ranks().begin(), job->full.ranks().end());
  job->plan.last.assign(job->last.ranks().begin(), job->last.ranks().end());
  job->plan.steps = scenario.plan.steps;
  job->plan.epochs = scenario.training.epochs;
  job->plan.after_epoch = to_ticks(longest_epoch_start(scenario));
  job->plan.start = scenario.start;
  return job;
}

RunEvent run_event(const EventSpec& spec, const Network& network) {
  RunEvent event{.rank = spec.rank,
                 .factor = spec.factor,
                 .bandwidth = spec.bandwidth,
                 .from = spec.from,
                 .to = spec.to};
  switch (spec.what) {
    case EventSpec::What::kSlowdown:
      event.what = RunEvent::What::kSlowdown;
      break;
    case EventSpec::What::kPause:
      event.what = RunEvent::What::kPause;
      break;
    case EventSpec::What::kLink:
      event.what = RunEvent::What::kLink;
      event.links = spec.node.empty() ? network.trunk_links(spec.ends[0], spec.ends[1])
                                      : network.nic_links(spec.node);
      break;
  }
  return event;
}

std::string describe(const EventSpec& spec) {
  std::string when = fmt::format("from {} to {}", human(spec.from), human(spec.to));
  switch (spec.what) {
    case EventSpec::What::kSlowdown:
      return fmt::format("rank {} {:g} times slower {}", spec.rank, spec.factor, when);
    case EventSpec::What::kPause:
      return fmt::format("rank {} paused {}", spec.rank, when);
    case EventSpec::What::kLink:
      return fmt::format("{} at {} {}",
                         spec.node.empty() ? fmt::format("link {} - {}", spec.ends[0], spec.ends[1])
                                           : "network of " + spec.node,
                         human(spec.bandwidth),
                         when);
  }
  return when;
}

double total_seconds(const RunOutcome& outcome) {
  double total = 0;
  for (const Seconds epoch : outcome.epochs) {
    total += epoch.value();
  }
  return total;
}

// Epochs that stay within the bound on messages when every step is simulated message by message.
std::int64_t affordable_epochs(const std::vector<std::unique_ptr<PlannedJob>>& jobs,
                               std::int64_t epochs) {
  double per_epoch = 0;
  for (const auto& job : jobs) {
    const auto ranks = static_cast<double>(job->plan.ranks.size());
    per_epoch += static_cast<double>(job->plan.steps) *
                 static_cast<double>(std::max<std::size_t>(job->plan.sync.buckets.size(), 1)) * 2 *
                 (ranks - 1) * ranks;
  }
  const double affordable = per_epoch > 0 ? kMostMessages / per_epoch : static_cast<double>(epochs);
  return std::clamp(static_cast<std::int64_t>(affordable), std::int64_t{1}, epochs);
}

}  // namespace

std::vector<EventEffect> event_effects(const ResolvedExperiment& resolved, const Network& network) {
  std::vector<EventEffect> effects(resolved.jobs.size());
  const auto& specs = resolved.experiment.events;
  const bool shared = resolved.jobs.size() > 1;
  if (specs.empty() && !shared) {
    return effects;
  }
  std::vector<std::unique_ptr<PlannedJob>> jobs;
  std::int64_t most_epochs = 1;
  for (const Scenario& scenario : resolved.jobs) {
    jobs.push_back(plan_job(scenario));
    most_epochs = std::max(most_epochs, scenario.training.epochs);
  }
  std::vector<JobPlan> plans;
  plans.reserve(jobs.size());
  const std::int64_t epochs = shared ? affordable_epochs(jobs, most_epochs) : most_epochs;
  for (const auto& job : jobs) {
    plans.push_back(job->plan);
    plans.back().epochs = std::min(plans.back().epochs, epochs);
  }
  std::vector<RunEvent> events;
  events.reserve(specs.size());
  for (const EventSpec& spec : specs) {
    events.push_back(run_event(spec, network));
  }
  const auto run = [&](const std::vector<RunEvent>& now) {
    return shared ? simulate_jobs(network, plans, now)
                  : std::vector{simulate_run(network, plans.front(), now)};
  };
  const std::vector<RunOutcome> disturbed = run(events);
  for (std::size_t job = 0; job < effects.size(); ++job) {
    const RunOutcome alone = simulate_run(network, plans[job]);
    EventEffect& effect = effects[job];
    for (std::size_t epoch = 0; epoch < alone.epochs.size(); ++epoch) {
      effect.epoch_s.push_back((disturbed[job].epochs[epoch] - alone.epochs[epoch]).value());
    }
    const auto simulated = static_cast<std::int64_t>(alone.epochs.size());
    if (simulated < jobs[job]->plan.epochs) {
      effect.notes.push_back(fmt::format(
          "the jobs were simulated together for {} of {} epochs; the others are taken to be alike",
          simulated,
          jobs[job]->plan.epochs));
      effect.epoch_s.resize(static_cast<std::size_t>(jobs[job]->plan.epochs),
                            effect.epoch_s.back());
    }
  }
  for (std::size_t skipped = 0; skipped < events.size(); ++skipped) {
    std::vector<RunEvent> others = events;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(skipped));
    const std::vector<RunOutcome> without = run(others);
    for (std::size_t job = 0; job < effects.size(); ++job) {
      effects[job].costs.push_back(
          {describe(specs[skipped]), total_seconds(disturbed[job]) - total_seconds(without[job])});
    }
  }
  return effects;
}

}  // namespace vitsim
