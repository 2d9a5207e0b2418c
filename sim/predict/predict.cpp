#include "sim/predict/predict.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include <fmt/format.h>
#include <oneapi/tbb/parallel_for.h>

#include "models/distribution.h"
#include "models/error.h"
#include "models/report/attribution.h"
#include "models/report/remarks.h"
#include "models/vit/cost_graph.h"
#include "models/vit/memory.h"
#include "sim/job/programs.h"
#include "sim/job/resolve.h"
#include "sim/predict/physics.h"
#include "sim/run/disturbance_cost.h"
#include "sim/run/job_plan.h"
#include "sim/sample/epoch_sampler.h"
#include "sim/sample/noise.h"
#include "sim/sample/step_model.h"

namespace vitsim {

namespace {

// Below this many factors to draw, threads cost more than they bring.
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
double evaluation_seconds(const ResolvedJob& job, std::vector<std::string>& warnings) {
  if (!job.training.evaluate) {
    return 0;
  }
  const std::string& name = job.training.dataset.name;
  const bool cifar = name == "cifar10" || name == "cifar100";
  const std::int64_t samples = cifar ? 10'000 : job.training.dataset.samples / 10;
  if (!cifar) {
    warnings.emplace_back("evaluation is charged for a test set of a tenth of the samples");
  }
  const auto world = static_cast<std::int64_t>(job.world_size());
  const std::int64_t per_rank = (samples + world - 1) / world;
  double slowest = 0;
  for (const RankClass& ranks : job.classes) {
    const std::int64_t batches = (per_rank + ranks.micro_batch() - 1) / ranks.micro_batch();
    const MicroBatchTimes times = ranks.compute->at(ranks.micro_batch());
    slowest = std::max(
        slowest,
        static_cast<double>(batches) * (times.data_load + times.forward * ranks.slowdown).value());
  }
  return slowest;
}

// Checkpoints of the whole run.
double checkpoint_seconds(const ResolvedJob& job) {
  const auto& checkpoint = job.training.checkpoint;
  if (!checkpoint || !checkpoint->cost) {
    return 0;
  }
  const std::int64_t steps = job.plan.steps * job.training.epochs;
  const std::int64_t count =
      checkpoint->every > 0 ? steps / checkpoint->every : job.training.epochs;
  return static_cast<double>(count) * checkpoint->cost->value();
}

double phase_of(const TypicalRank& rank, Phase phase) {
  return rank.phase_s[static_cast<std::size_t>(phase)];
}

// Scales the typical step to the median one, so that the parts shown are those of the step shown.
void fill_step(const ResolvedJob& job, TypicalStep& typical, Report& report) {
  const double scale = typical.step_s > 0 ? report.step_s.p50 / typical.step_s : 1;
  const auto stretch = [&](TypicalRank& rank) {
    for (double& phase : rank.phase_s) {
      phase *= scale;
    }
    rank.compute_s *= scale;
    rank.wait_s *= scale;
    rank.exposed_s *= scale;
    rank.communication_s *= scale;
  };
  std::ranges::for_each(typical.ranks, stretch);
  for (std::size_t of = 0; of < job.classes.size(); ++of) {
    TypicalRank& rank = typical.classes[of];
    stretch(rank);
    const double share =
        static_cast<double>(job.classes[of].count) / static_cast<double>(job.world_size());
    report.phases.data_load_s += share * phase_of(rank, Phase::kDataLoad);
    report.phases.forward_s += share * phase_of(rank, Phase::kForward);
    report.phases.backward_s += share * phase_of(rank, Phase::kBackward);
    report.phases.gradient_all_reduce_s += share * phase_of(rank, Phase::kGradientAllReduce);
    report.phases.parameter_all_gather_s += share * phase_of(rank, Phase::kParameterAllGather);
    report.phases.tensor_parallel_s += share * phase_of(rank, Phase::kTensorParallel);
    report.phases.pipeline_send_s += share * phase_of(rank, Phase::kPipelineSend);
    report.phases.optimizer_s += share * phase_of(rank, Phase::kOptimizer);
    report.phases.other_s += share * phase_of(rank, Phase::kOther);
    report.exposed_communication_s += share * rank.exposed_s;
    report.wait_s += share * rank.wait_s;
  }
  add_rows(report.communication, typical.communication, 1);
  for (CommunicationRow& row : report.communication) {
    row.busy_s *= scale;
    row.exposed_s *= scale;
  }
}

RankMemory memory_of(const ResolvedJob& job, const RankClass& ranks) {
  RankMemory memory{.parts = memory_parts(job.training,
                                          static_cast<std::int64_t>(job.world_size()),
                                          ranks.micro_batch(),
                                          ranks.compute->memory)};
  memory.total_bytes = memory.parts.total();
  if (ranks.compute->capacity) {
    memory.capacity_bytes = ranks.compute->capacity->value();
    memory.fits = memory.total_bytes <= *memory.capacity_bytes;
  }
  return memory;
}

std::vector<AttributedRanks> attributed_classes(const ResolvedJob& job,
                                                const TypicalStep& typical) {
  std::vector<AttributedRanks> entries;
  for (std::size_t of = 0; of < job.classes.size(); ++of) {
    entries.push_back({.gpu = job.classes[of].gpu,
                       .node = job.node(job.classes[of].first),
                       .micro_batch = job.classes[of].micro_batch(),
                       .compute_s = typical.classes[of].compute_s,
                       .late_share = typical.late_share[of]});
  }
  for (std::size_t position = 0; position < job.world_size(); ++position) {
    entries[job.class_of[position]].ranks.add(static_cast<std::int64_t>(position));
  }
  return entries;
}

void add_classes(const ResolvedJob& job,
                 const TypicalStep& typical,
                 const std::vector<AttributedRanks>& entries,
                 const GainOf& gain,
                 Report& report) {
  // Classes of the same GPU and micro-batch share their memory.
  std::map<std::pair<std::string, std::int64_t>, std::pair<RankMemory, std::optional<std::int64_t>>>
      memories;
  for (std::size_t of = 0; of < job.classes.size(); ++of) {
    const RankClass& ranks = job.classes[of];
    auto [memory, fresh] = memories.try_emplace({ranks.gpu, ranks.micro_batch()});
    if (fresh) {
      memory->second.first = memory_of(job, ranks);
      if (ranks.compute->capacity) {
        memory->second.second = largest_micro_batch(job.training,
                                                    static_cast<std::int64_t>(job.world_size()),
                                                    ranks.compute->memory,
                                                    *ranks.compute->capacity);
      }
    }
    report.rank_classes.push_back({.count = ranks.count,
                                   .first_rank = ranks.first,
                                   .node = entries[of].node,
                                   .gpu = ranks.gpu,
                                   .micro_batch = ranks.micro_batch(),
                                   .compute_s = entries[of].compute_s,
                                   .wait_s = typical.classes[of].wait_s,
                                   .late_share = typical.late_share[of],
                                   .gain_s = gain == nullptr ? 0 : entry_gain_s(entries, of, gain),
                                   .memory = memory->second.first,
                                   .largest_micro_batch = memory->second.second});
  }
}

// Every rank by itself; where ranks of a class are alike they share its times.
void add_ranks(const ResolvedJob& job,
               const TypicalStep& typical,
               const std::vector<AttributedRanks>& entries,
               const EpochSampler* sampler,
               Report& report) {
  const double median_s = median_compute_s(entries);
  std::vector<std::optional<double>> gain_alone(job.classes.size());  // of one rank of a class
  report.ranks.reserve(job.world_size());
  for (std::size_t position = 0; position < job.world_size(); ++position) {
    const std::size_t of = job.class_of[position];
    const RankClassReport& ranks = report.rank_classes[of];
    const TypicalRank& step = typical.ranks.empty() ? typical.classes[of] : typical.ranks[position];
    if (!gain_alone[of]) {
      const bool slow = ranks.compute_s > median_s * (1 + 1e-9);
      gain_alone[of] =
          sampler == nullptr || !slow ? 0
          : ranks.count == 1
              ? ranks.gain_s
              : std::max(0.0, sampler->rank_gain_s(position, median_s / ranks.compute_s));
    }
    report.ranks.push_back({.rank = static_cast<std::int64_t>(position),
                            .node = job.node(position),
                            .gpu = ranks.gpu,
                            .micro_batch = ranks.micro_batch,
                            .compute_s = step.compute_s,
                            .wait_s = step.wait_s,
                            .late_share = ranks.late_share / static_cast<double>(ranks.count),
                            .gain_s = *gain_alone[of],
                            .memory = ranks.memory,
                            .largest_micro_batch = ranks.largest_micro_batch});
  }
}

void add_model_flops(const ResolvedJob& job, Report& report) {
  double samples = 0;
  for (const RankClass& ranks : job.classes) {
    samples += static_cast<double>(ranks.count * ranks.shape.samples());
  }
  if (report.step_s.p50 > 0) {
    report.model_flops_per_s =
        training_flops(job.training.model).value() * samples / report.step_s.p50;
  }
}

/// The mean step without noise, over all kinds of steps of the run.
double quiet_step_s(const ResolvedJob& job) {
  const std::int64_t steps = job.plan.steps * job.training.epochs;
  const std::vector<double> counts = rare_counts(job.rare, 0, steps);
  double usual = static_cast<double>(steps);
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    ResolvedJob rare = job;
    rare.full = job.rare[i].full;
    sum += counts[i] == 0 ? 0 : counts[i] * StepModel(rare).step_s();
    usual -= counts[i];
  }
  return (sum + usual * StepModel(job).step_s()) / static_cast<double>(steps);
}

/// The step of the plain way to train where another was chosen, by what it takes without noise.
std::optional<double> plain_step_s(const ResolvedJob& job, double step_s) {
  constexpr std::size_t kMostRanks = 2048;
  const std::optional<TrainingSpec> plain = plain_way(job.training);
  if (!plain || job.world_size() < 2 || job.world_size() > kMostRanks ||
      job.training.parallelism.model_ranks() > 1) {
    return std::nullopt;
  }
  ResolvedJob other = job;
  other.training = *plain;
  other.last_classes.clear();
  other.rare.clear();
  build_programs(other);
  return step_s * quiet_step_s(other) / quiet_step_s(job);
}

std::vector<RankLimits> limits_of(const ResolvedJob& job) {
  std::vector<RankLimits> limits;
  for (const RankClass& ranks : job.classes) {
    limits.push_back({.count = ranks.count,
                      .micro_batch = ranks.micro_batch(),
                      .memory = ranks.compute->memory,
                      .capacity = ranks.compute->capacity});
  }
  return limits;
}

Report predict_job(const ResolvedJob& job,
                   const DisturbanceEffect& disturbed,
                   const PredictOptions& options) {
  const Noise noise(job, options.seed, options.replicates);
  const int replicates = noise.is_zero() ? 1 : options.replicates;
  const auto sampler = make_epoch_sampler(job, noise, options.all_ranks);

  std::vector<SampledRun> runs(static_cast<std::size_t>(replicates));
  const auto draw = [&](std::size_t replicate) {
    runs[replicate] = sampler->sample(static_cast<int>(replicate));
  };
  if (runs.size() * job.world_size() > kParallelWork) {
    oneapi::tbb::parallel_for(std::size_t{0}, runs.size(), draw);
  } else {
    for (std::size_t replicate = 0; replicate < runs.size(); ++replicate) {
      draw(replicate);
    }
  }

  Report report{.steps_per_epoch = job.plan.steps,
                .samples_per_epoch = job.plan.samples,
                .world_size = static_cast<std::int64_t>(job.world_size()),
                .basis = job.basis,
                .warnings = job.warnings};
  std::ranges::copy(disturbed.notes, std::back_inserter(report.warnings));
  const double evaluation = evaluation_seconds(job, report.warnings);
  const double extra =
      static_cast<double>(job.training.epochs) * evaluation + checkpoint_seconds(job);
  std::vector<double> epochs;
  std::vector<double> steps;
  std::vector<double> totals;
  for (SampledRun& run : runs) {
    for (std::size_t epoch = 0; epoch < run.epoch_s.size() && epoch < disturbed.epoch_s.size();
         ++epoch) {
      run.epoch_s[epoch] += disturbed.epoch_s[epoch];
    }
    epochs.push_back(median(run.epoch_s));
    steps.push_back(run.step_s);
    totals.push_back(sum(run.epoch_s) + extra);
  }
  // One replicate shows no interval, unless nothing differs between runs.
  const bool known = noise.is_known() && (noise.is_zero() || replicates > 1);
  report.epoch_s = quantiles(std::move(epochs), known);
  report.step_s = quantiles(std::move(steps), known);
  report.total_s = quantiles(std::move(totals), known);
  report.samples_per_s = static_cast<double>(job.plan.samples) / report.epoch_s.p50;
  report.disturbances = disturbed.costs;
  add_model_flops(job, report);

  TypicalStep typical = sampler->typical();
  fill_step(job, typical, report);
  const std::vector<AttributedRanks> entries = attributed_classes(job, typical);
  // The same question is asked of a class by itself and of the stragglers together.
  std::map<std::vector<double>, double> known_gains;
  const auto gain_of = [&](const std::vector<double>& factors) {
    const auto [entry, fresh] = known_gains.try_emplace(factors);
    if (fresh) {
      entry->second = sampler->gain_s(factors);
    }
    return entry->second;
  };
  const GainOf gain = options.gains ? GainOf(gain_of) : GainOf();
  add_classes(job, typical, entries, gain, report);
  if (options.all_ranks || report.world_size <= kMostListedRanks) {
    add_ranks(job, typical, entries, options.gains ? sampler.get() : nullptr, report);
  }
  report.remarks =
      remarks(job.training, report, limits_of(job), plain_step_s(job, report.step_s.p50));
  report.verdict = attribute(report, entries, gain);
  if (!noise.is_known()) {
    report.warnings.emplace_back(
        "no spread between runs is known for some GPU: no interval is given");
  } else if (!known) {
    report.warnings.emplace_back("one replicate gives no interval: ask for more (--replicates)");
  }
  check_physics(job, report);
  return report;
}

}  // namespace

std::vector<Report> predict(const ResolvedExperiment& resolved, const PredictOptions& options) {
  check_samples(resolved.experiment);
  const std::vector<DisturbanceEffect> effects = disturbance_effects(resolved);
  std::vector<Report> reports;
  for (std::size_t job = 0; job < resolved.jobs.size(); ++job) {
    reports.push_back(predict_job(resolved.jobs[job], effects[job], options));
  }
  return reports;
}

std::vector<Timeline> trace(const ResolvedExperiment& resolved, std::int64_t steps) {
  std::vector<JobPlan> plans;
  for (const ResolvedJob& job : resolved.jobs) {
    plans.push_back(job_plan(job));
    plans.back().epochs = std::min(plans.back().epochs, steps / plans.back().steps + 1);
  }
  RunTimeline found{.steps = steps};
  const std::vector<Disturbance> disturbed = disturbances(resolved);
  if (plans.size() == 1) {
    simulate_run(*resolved.network, plans.front(), disturbed, &found);
  } else {
    simulate_jobs(*resolved.network, plans, disturbed, &found);
  }
  std::vector<Timeline> timelines;
  for (std::size_t job = 0; job < plans.size(); ++job) {
    const ResolvedJob& of = resolved.jobs[job];
    Timeline& timeline = timelines.emplace_back();
    timeline.name = plans.size() == 1 ? "predicted"
                    : of.name.empty() ? fmt::format("job {}", job)
                                      : of.name;
    timeline.rank_names.resize(static_cast<std::size_t>(resolved.network->world_size()));
    for (std::size_t position = 0; position < of.world_size(); ++position) {
      timeline.rank_names[static_cast<std::size_t>(of.ranks()[position])] =
          fmt::format("{}: {}", of.node(position), of.rank_class(position).gpu);
    }
    timeline.ring.assign(of.ranks().begin(), of.ranks().end());
  }
  for (Span& span : found.spans) {
    timelines[static_cast<std::size_t>(span.job)].spans.push_back(span);
  }
  return timelines;
}

}  // namespace vitsim
