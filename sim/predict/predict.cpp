#include "sim/predict/predict.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include <oneapi/tbb/parallel_for.h>

#include "models/distribution.h"
#include "models/error.h"
#include "models/vit/memory.h"
#include "sim/job/step_time.h"
#include "sim/predict/bottleneck.h"
#include "sim/run/event_cost.h"
#include "sim/sample/epoch_sampler.h"
#include "sim/sample/noise.h"

namespace vitsim {

namespace {

// Below this many rank factors to draw, threads cost more than they bring.
constexpr std::size_t kParallelWork = 4000;

Quantiles quantiles(std::vector<double> values, bool known) {
  std::ranges::sort(values);
  Quantiles result;
  for (const double value : values) {
    result.mean += value / static_cast<double>(values.size());
  }
  result.p50 = quantile_of_sorted(values, 0.5);
  if (values.front() == values.back()) {
    result.mean = values.front();
  }
  if (known) {
    result.p05 = quantile_of_sorted(values, 0.05);
    result.p95 = quantile_of_sorted(values, 0.95);
  }
  return result;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) {
    total += value;
  }
  return total;
}

// Evaluation once per epoch: forward passes over the test set, shared by all ranks.
double evaluation_seconds(const Scenario& scenario, std::vector<std::string>& warnings) {
  if (!scenario.training.evaluate) {
    return 0;
  }
  const std::string& name = scenario.training.dataset.name;
  const bool cifar = name == "cifar10" || name == "cifar100";
  const std::int64_t samples = cifar ? 10'000 : scenario.training.dataset.samples / 10;
  if (!cifar) {
    warnings.emplace_back("evaluation is charged for a test set of a tenth of the samples");
  }
  const auto world = static_cast<std::int64_t>(scenario.ranks.size());
  const std::int64_t per_rank = (samples + world - 1) / world;
  double slowest = 0;
  for (const ScenarioRank& rank : scenario.ranks) {
    const std::int64_t batches = (per_rank + rank.micro_batch - 1) / rank.micro_batch;
    const MicroBatchTimes times = rank.compute->at(rank.micro_batch);
    slowest = std::max(
        slowest,
        static_cast<double>(batches) * (times.data_load + times.forward * rank.slowdown).value());
  }
  return slowest;
}

// Checkpoints of the whole run.
double checkpoint_seconds(const Scenario& scenario) {
  const auto& checkpoint = scenario.training.checkpoint;
  if (!checkpoint || !checkpoint->cost) {
    return 0;
  }
  const std::int64_t steps = scenario.plan.steps * scenario.training.epochs;
  const std::int64_t count =
      checkpoint->every > 0 ? steps / checkpoint->every : scenario.training.epochs;
  return static_cast<double>(count) * checkpoint->cost->value();
}

PhaseSeconds phase_means(const Scenario& scenario, const TypicalStep& step) {
  PhaseSeconds phases;
  const StepWork work(scenario, scenario.plan.full);
  const double share = 1.0 / static_cast<double>(scenario.ranks.size());
  for (std::size_t index = 0; index < scenario.ranks.size(); ++index) {
    const RankWork& rank = work.ranks()[index];
    for (const MicroBatchWork& batch : rank.micro_batches) {
      phases.data_load_s += share * to_seconds(batch.data_load).value();
      phases.forward_s += share * to_seconds(batch.forward).value();
      phases.backward_s += share * to_seconds(batch.backward).value();
    }
    phases.optimizer_s += share * to_seconds(rank.optimizer).value();
    phases.other_s += share * to_seconds(rank.other).value();
    phases.gradient_all_reduce_s += share * step.busy_s[index];
  }
  return phases;
}

RankMemory memory_of(const Scenario& scenario, const ScenarioRank& rank) {
  RankMemory memory{.parts = memory_parts(scenario.training,
                                          static_cast<std::int64_t>(scenario.ranks.size()),
                                          rank.micro_batch,
                                          rank.compute->memory)};
  memory.total_bytes = memory.parts.total();
  if (rank.compute->capacity) {
    memory.capacity_bytes = rank.compute->capacity->value();
    memory.fits = memory.total_bytes <= *memory.capacity_bytes;
  }
  return memory;
}

std::vector<RankReport> rank_reports(const Scenario& scenario,
                                     const TypicalStep& step,
                                     const EpochSampler& sampler,
                                     bool gains) {
  const double typical_ready = median(step.ready_s);
  // Equal ranks share their memory and, where they are alone with it, their gain.
  std::map<std::pair<std::string, std::int64_t>, std::pair<RankMemory, std::optional<std::int64_t>>>
      memories;
  std::vector<RankReport> reports;
  for (std::size_t index = 0; index < scenario.ranks.size(); ++index) {
    const ScenarioRank& rank = scenario.ranks[index];
    auto& memory = memories[{rank.gpu, rank.micro_batch}];
    if (memory.first.total_bytes == 0) {
      memory.first = memory_of(scenario, rank);
      if (rank.compute->capacity) {
        memory.second = largest_micro_batch(scenario.training,
                                            static_cast<std::int64_t>(scenario.ranks.size()),
                                            rank.compute->memory,
                                            *rank.compute->capacity);
      }
    }
    const double ready = step.ready_s[index];
    double gain = 0;
    if (gains && ready > typical_ready * (1 + 1e-9)) {
      std::vector<double> factors(scenario.ranks.size(), 1.0);
      factors[index] = typical_ready / ready;
      gain = std::max(0.0, sampler.gain_s(factors));
    }
    reports.push_back({.rank = static_cast<std::int64_t>(index),
                       .node = rank.node,
                       .gpu = rank.gpu,
                       .micro_batch = rank.micro_batch,
                       .compute_s = ready,
                       .wait_s = step.wait_s[index],
                       .late_share = step.late_share[index],
                       .gain_s = gain,
                       .memory = memory.first,
                       .largest_micro_batch = memory.second});
  }
  return reports;
}

// No step is shorter than its arithmetic at the data sheet's peak, or than the wire allows.
void check_physics(const Scenario& scenario, const Report& report) {
  for (const RankReport& rank : report.ranks) {
    VITSIM_CHECK(rank.compute_s, >=, 0.0);
    VITSIM_CHECK(rank.wait_s, >=, 0.0);
  }
  VITSIM_CHECK(report.step_s.p50, >, 0.0);
  VITSIM_CHECK(report.samples_per_epoch, >=, scenario.plan.subset);
}

Report predict_job(const ResolvedExperiment& resolved,
                   std::size_t job,
                   const Network& network,
                   const EventEffect& events,
                   const PredictOptions& options) {
  const Scenario& scenario = resolved.jobs[job];
  const Noise noise(scenario, options.seed, options.replicates);
  const int replicates = noise.is_zero() ? 1 : options.replicates;
  const auto sampler = make_epoch_sampler(resolved, job, network, noise);

  std::vector<SampledRun> runs(static_cast<std::size_t>(replicates));
  const auto draw = [&](std::size_t replicate) {
    runs[replicate] = sampler->sample(static_cast<int>(replicate));
  };
  if (runs.size() * scenario.ranks.size() > kParallelWork) {
    oneapi::tbb::parallel_for(std::size_t{0}, runs.size(), draw);
  } else {
    for (std::size_t replicate = 0; replicate < runs.size(); ++replicate) {
      draw(replicate);
    }
  }

  Report report{.steps_per_epoch = scenario.plan.steps,
                .samples_per_epoch = scenario.plan.samples,
                .basis = scenario.basis,
                .warnings = scenario.warnings};
  std::ranges::copy(events.notes, std::back_inserter(report.warnings));
  const double evaluation = evaluation_seconds(scenario, report.warnings);
  const double extra =
      static_cast<double>(scenario.training.epochs) * evaluation + checkpoint_seconds(scenario);
  std::vector<double> epochs;
  std::vector<double> steps;
  std::vector<double> totals;
  for (SampledRun& run : runs) {
    for (std::size_t epoch = 0; epoch < run.epoch_s.size() && epoch < events.epoch_s.size();
         ++epoch) {
      run.epoch_s[epoch] += events.epoch_s[epoch];
    }
    epochs.push_back(median(run.epoch_s));
    steps.push_back(run.step_s);
    totals.push_back(sum(run.epoch_s) + extra);
  }
  const bool known = noise.is_known();
  report.epoch_s = quantiles(std::move(epochs), known);
  report.step_s = quantiles(std::move(steps), known);
  report.total_s = quantiles(std::move(totals), known);
  report.samples_per_s = static_cast<double>(scenario.plan.samples) / report.epoch_s.p50;
  report.events = events.costs;

  const TypicalStep typical = sampler->typical();
  report.phases = phase_means(scenario, typical);
  const auto world = static_cast<double>(scenario.ranks.size());
  report.exposed_communication_s = sum(typical.exposed_s) / world;
  report.wait_s = sum(typical.wait_s) / world;
  report.ranks = rank_reports(scenario, typical, *sampler, options.gains);
  report.bottleneck = bottleneck(scenario, report, options.gains ? sampler.get() : nullptr);
  if (!known) {
    report.warnings.emplace_back(
        "no spread between runs is known for some GPU: no interval is given");
  }
  check_physics(scenario, report);
  return report;
}

}  // namespace

std::vector<Report> predict(const ResolvedExperiment& resolved, const PredictOptions& options) {
  check_samples(resolved.experiment);
  const Network network(resolved.network);
  const std::vector<EventEffect> effects = event_effects(resolved, network);
  std::vector<Report> reports;
  for (std::size_t job = 0; job < resolved.jobs.size(); ++job) {
    reports.push_back(predict_job(resolved, job, network, effects[job], options));
  }
  return reports;
}

Timeline trace(const ResolvedExperiment& resolved, std::int64_t steps) {
  const Scenario& scenario = resolved.jobs.front();
  const Network network(resolved.network);
  std::vector<std::int64_t> ranks;
  for (const ScenarioRank& rank : scenario.ranks) {
    ranks.push_back(rank.cluster_rank);
  }
  StepSimulator simulator(network, ranks, sync_plan(scenario));
  const StepWork full(scenario, scenario.plan.full);
  const StepWork last(scenario, scenario.plan.last);
  Timeline timeline{.name = "predicted", .spans = {}};
  std::vector<Tick> starts(ranks.size(), 0);
  std::vector<StepSpan> spans;
  for (std::int64_t step = 0; step < std::min(steps, scenario.plan.steps); ++step) {
    spans.clear();
    const bool is_last = step + 1 == scenario.plan.steps;
    const StepOutcome& outcome = simulator.run((is_last ? last : full).ranks(), starts, &spans);
    for (const StepSpan& span : spans) {
      timeline.spans.push_back({.rank = scenario.ranks[span.position].cluster_rank,
                                .stream = span.stream,
                                .step = step,
                                .phase = span.phase,
                                .begin_ns = span.begin / 1000,
                                .end_ns = span.end / 1000,
                                .bytes = span.bytes});
    }
    std::ranges::copy(outcome.end, starts.begin());
  }
  return timeline;
}

}  // namespace vitsim
