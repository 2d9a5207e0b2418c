#include "sim/run/event_cost.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "sim/job/step_time.h"
#include "sim/run/phases.h"

namespace vitsim {

namespace {

// Of all runs together, with all events and without each: seconds of computing. Beyond, phases are
// taken to go on as they begin.
constexpr double kMostMessages = 4e7;

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
    const auto buckets = static_cast<double>(std::max<std::size_t>(plan.sync.buckets.size(), 1));
    count += static_cast<double>(plan.epochs) * static_cast<double>(plan.steps) * buckets * 2 *
             (ranks - 1) * ranks;
  }
  return count;
}

// All runs of the jobs that an effect is told from: every epoch, without noise.
struct Runs {
  JobEpochs alone;
  JobEpochs disturbed;
  std::vector<JobEpochs> without;  // by event
  bool in_phases = false;
};

Runs simulate_whole(const Network& network,
                    const std::vector<JobPlan>& plans,
                    const std::vector<RunEvent>& events) {
  Runs runs;
  for (const JobPlan& plan : plans) {
    runs.alone.push_back(simulate_run(network, plan).epochs);
  }
  const auto together = [&](const std::vector<RunEvent>& now) {
    JobEpochs epochs;
    for (RunOutcome& outcome : plans.size() > 1
                                   ? simulate_jobs(network, plans, now)
                                   : std::vector{simulate_run(network, plans.front(), now)}) {
      epochs.push_back(std::move(outcome.epochs));
    }
    return epochs;
  };
  runs.disturbed = together(events);
  for (std::size_t skipped = 0; skipped < events.size(); ++skipped) {
    std::vector<RunEvent> others = events;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(skipped));
    runs.without.push_back(together(others));
  }
  return runs;
}

Runs simulate_in_phases(const Network& network,
                        const std::vector<JobPlan>& plans,
                        const std::vector<RunEvent>& events) {
  PhasedRun run(network, plans, events);
  Runs runs{.in_phases = true};
  for (std::size_t job = 0; job < plans.size(); ++job) {
    runs.alone.emplace_back(static_cast<std::size_t>(plans[job].epochs), run.epoch_alone(job));
  }
  runs.disturbed = run.epochs();
  for (std::size_t skipped = 0; skipped < events.size(); ++skipped) {
    runs.without.push_back(run.epochs(skipped));
  }
  return runs;
}

}  // namespace

std::vector<EventEffect> event_effects(const ResolvedExperiment& resolved, const Network& network) {
  std::vector<EventEffect> effects(resolved.jobs.size());
  const auto& specs = resolved.experiment.events;
  const bool shared = resolved.jobs.size() > 1;
  if (specs.empty() && !shared) {
    return effects;
  }
  std::vector<std::unique_ptr<PlannedJob>> jobs;  // own the work that plans point into
  std::vector<JobPlan> plans;
  for (const Scenario& scenario : resolved.jobs) {
    jobs.push_back(plan_job(scenario));
    plans.push_back(jobs.back()->plan);
  }
  std::vector<RunEvent> events;
  events.reserve(specs.size());
  for (const EventSpec& spec : specs) {
    events.push_back(run_event(spec, network));
  }
  const double messages = message_count(plans) * static_cast<double>(1 + events.size());
  const Runs runs = shared && messages > kMostMessages ? simulate_in_phases(network, plans, events)
                                                       : simulate_whole(network, plans, events);
  for (std::size_t job = 0; job < effects.size(); ++job) {
    EventEffect& effect = effects[job];
    for (std::size_t epoch = 0; epoch < runs.alone[job].size(); ++epoch) {
      effect.epoch_s.push_back((runs.disturbed[job][epoch] - runs.alone[job][epoch]).value());
    }
    for (std::size_t event = 0; event < events.size(); ++event) {
      effect.costs.push_back(
          {describe(specs[event]),
           total_seconds(runs.disturbed[job]) - total_seconds(runs.without[event][job])});
    }
    if (runs.in_phases) {
      effect.notes.emplace_back(
          "the jobs run together for too long to simulate every message: of each phase, in which "
          "the same jobs run under the same events, some steps were, the others are taken to be "
          "alike");
    }
  }
  return effects;
}

}  // namespace vitsim
