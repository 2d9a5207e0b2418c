#include "sim/predict/predict.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <oneapi/tbb/parallel_for.h>

#include "models/distribution.h"
#include "models/report/attribution.h"
#include "models/report/quantiles.h"
#include "models/report/remarks.h"
#include "models/vit/cost_graph.h"
#include "models/vit/memory.h"
#include "sim/job/programs.h"
#include "sim/job/resolve.h"
#include "sim/predict/goodput.h"
#include "sim/predict/physics.h"
#include "sim/predict/run_time.h"
#include "sim/predict/step_picture.h"
#include "sim/run/checkpoints.h"
#include "sim/run/disturbance_cost.h"
#include "sim/run/failure_timeline.h"
#include "sim/run/job_plan.h"
#include "sim/sample/epoch_sampler.h"
#include "sim/sample/noise.h"
#include "sim/sample/step_model.h"

namespace vitsim {

namespace {

// Below this many factors to draw, threads cost more than they bring.
constexpr std::size_t kParallelWork = 4000;

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) {
    total += value;
  }
  return total;
}

double phase_of(const TypicalRank& rank, Phase phase) {
  return rank.phase_s[static_cast<std::size_t>(phase)];
}

PhaseSeconds phases_of(const TypicalRank& rank) {
  return {.data_load_s = phase_of(rank, Phase::kDataLoad),
          .forward_s = phase_of(rank, Phase::kForward),
          .backward_s = phase_of(rank, Phase::kBackward),
          .gradient_all_reduce_s = phase_of(rank, Phase::kGradientAllReduce),
          .parameter_all_gather_s = phase_of(rank, Phase::kParameterAllGather),
          .tensor_parallel_s = phase_of(rank, Phase::kTensorParallel),
          .pipeline_send_s = phase_of(rank, Phase::kPipelineSend),
          .optimizer_s = phase_of(rank, Phase::kOptimizer),
          .other_s = phase_of(rank, Phase::kOther)};
}

void add_share(PhaseSeconds& sum, const PhaseSeconds& phases, double share) {
  sum.data_load_s += share * phases.data_load_s;
  sum.forward_s += share * phases.forward_s;
  sum.backward_s += share * phases.backward_s;
  sum.gradient_all_reduce_s += share * phases.gradient_all_reduce_s;
  sum.parameter_all_gather_s += share * phases.parameter_all_gather_s;
  sum.tensor_parallel_s += share * phases.tensor_parallel_s;
  sum.pipeline_send_s += share * phases.pipeline_send_s;
  sum.optimizer_s += share * phases.optimizer_s;
  sum.other_s += share * phases.other_s;
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
  };
  std::ranges::for_each(typical.ranks, stretch);
  for (std::size_t of = 0; of < job.classes.size(); ++of) {
    TypicalRank& rank = typical.classes[of];
    stretch(rank);
    const double share =
        static_cast<double>(job.classes[of].count) / static_cast<double>(job.world_size());
    add_share(report.phases, phases_of(rank), share);
    report.exposed_communication_s += share * rank.exposed_s;
    report.wait_s += share * rank.wait_s;
  }
  add_rows(report.communication, typical.communication, 1);
  for (CommunicationRow& row : report.communication) {
    row.busy_s *= scale;
    row.exposed_s *= scale;
  }
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
  // Classes of the same GPU, micro-batch and pipeline stage share their memory.
  using MemoryKey = std::tuple<std::string, std::int64_t, std::int64_t>;
  std::map<MemoryKey, std::pair<RankMemory, std::optional<std::int64_t>>> memories;
  for (std::size_t of = 0; of < job.classes.size(); ++of) {
    const RankClass& ranks = job.classes[of];
    auto [memory, fresh] = memories.try_emplace({ranks.gpu, ranks.micro_batch(), ranks.held.stage});
    if (fresh) {
      memory->second.first = memory_of(job, ranks);
      if (ranks.compute->capacity) {
        memory->second.second = largest_micro_batch(job.training,
                                                    job.gradient_ranks(),
                                                    ranks.compute->memory,
                                                    *ranks.compute->capacity,
                                                    ranks.held);
      }
    }
    report.rank_classes.push_back({.count = ranks.count,
                                   .first_rank = ranks.first,
                                   .node = entries[of].node,
                                   .gpu = ranks.gpu,
                                   .micro_batch = ranks.micro_batch(),
                                   .compute_s = entries[of].compute_s,
                                   .wait_s = typical.classes[of].wait_s,
                                   .phases = phases_of(typical.classes[of]),
                                   .exposed_communication_s = typical.classes[of].exposed_s,
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
    // All ranks of a replica count the same samples.
    samples /= static_cast<double>(job.training.parallelism.model_ranks());
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
                      .capacity = ranks.compute->capacity,
                      .held = ranks.held});
  }
  return limits;
}

Report predict_job(const ResolvedJob& job,
                   const Experiment& experiment,
                   const DisturbanceEffect& disturbed,
                   const PredictOptions& options) {
  const Noise noise(job, options.seed, options.replicates);
  const int replicates = noise.is_zero() ? 1 : options.replicates;
  const auto sampler = make_epoch_sampler(job, noise, options.all_ranks);

  std::vector<SampledRun> runs(static_cast<std::size_t>(replicates));
  std::atomic<std::size_t> drawn = 0;
  const auto draw = [&](std::size_t replicate) {
    if (options.progress) {
      options.progress(drawn++, runs.size());
    }
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
  if (std::string note = evaluation_note(job); !note.empty()) {
    report.warnings.push_back(std::move(note));
  }
  const double evaluations =
      static_cast<double>(job.training.epochs) * evaluation_time(job).value();
  std::vector<double> epochs;
  std::vector<double> steps;
  std::vector<double> works;  // of whole runs, without checkpoints
  for (SampledRun& run : runs) {
    for (std::size_t epoch = 0; epoch < run.epoch_s.size() && epoch < disturbed.epoch_s.size();
         ++epoch) {
      run.epoch_s[epoch] += disturbed.epoch_s[epoch];
    }
    epochs.push_back(median(run.epoch_s));
    steps.push_back(run.step_s);
    works.push_back(sum(run.epoch_s) + evaluations);
  }
  // One replicate shows no interval, unless nothing differs between runs.
  const bool known = noise.is_known() && (noise.is_zero() || replicates > 1);
  report.epoch_s = quantiles_of(std::move(epochs), known);
  report.step_s = quantiles_of(std::move(steps), known);
  const CheckpointPlan checkpoints = checkpoint_plan(job,
                                                     experiment.failures,
                                                     Seconds(report.step_s.p50),
                                                     Seconds(report.epoch_s.p50),
                                                     options.seed);
  std::vector<double> totals = works;
  for (double& total : totals) {
    total += checkpoints.added().value();
  }
  report.total_s = quantiles_of(std::move(totals), known);
  report.samples_per_s = static_cast<double>(job.plan.samples) / report.epoch_s.p50;
  report.disturbances = disturbed.costs;
  add_goodput(job, experiment, works, checkpoints, options, known, report);
  report.cost =
      cost_of(job,
              experiment.prices,
              Seconds(report.goodput ? report.goodput->total_s.mean : report.total_s.p50));
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
  if (options.picture) {
    report.timeline = step_tracks(job, report.rank_classes);
    report.links = link_uses(job, report.step_s.p50);
  }
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

std::vector<double> sampled_totals_s(const ResolvedExperiment& resolved,
                                     const PredictOptions& options,
                                     std::span<const std::string> kinds) {
  const ResolvedJob& job = resolved.jobs.front();
  const Noise noise(job, options.seed, options.replicates, kinds);
  const auto sampler = make_epoch_sampler(job, noise);
  std::vector<double> steps;
  std::vector<double> epochs;
  std::vector<double> totals;
  const double evaluations =
      static_cast<double>(job.training.epochs) * evaluation_time(job).value();
  for (int replicate = 0; replicate < options.replicates; ++replicate) {
    const SampledRun run = sampler->sample(replicate);
    steps.push_back(run.step_s);
    epochs.push_back(median(run.epoch_s));
    totals.push_back(sum(run.epoch_s) + evaluations);
  }
  const CheckpointPlan checkpoints = checkpoint_plan(job,
                                                     resolved.experiment.failures,
                                                     Seconds(median(steps)),
                                                     Seconds(median(epochs)),
                                                     options.seed);
  const FailingRuns failing(job, resolved.experiment, checkpoints, options.seed);
  for (int replicate = 0; replicate < options.replicates; ++replicate) {
    double& total = totals[static_cast<std::size_t>(replicate)];
    total = failing.any() ? failing.history(total, replicate).total.value()
                          : total + checkpoints.added().value();
  }
  return totals;
}

std::vector<Report> predict(const ResolvedExperiment& resolved, const PredictOptions& options) {
  check_samples(resolved.experiment);
  const std::vector<DisturbanceEffect> effects = disturbance_effects(resolved);
  std::vector<Report> reports;
  for (std::size_t job = 0; job < resolved.jobs.size(); ++job) {
    reports.push_back(predict_job(resolved.jobs[job], resolved.experiment, effects[job], options));
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
  for (std::size_t job = 0; job < plans.size(); ++job) {
    const ResolvedJob& of = resolved.jobs[job];
    std::vector<GivenFailure> given = given_failures(of, resolved.experiment.events);
    const CheckpointPlan checkpoints = plain_checkpoints(resolved, job);
    if (!given.empty() || checkpoints.cost.value() > 0) {
      add_failures(timelines[job].spans, checkpoints, given, of.start);
    }
  }
  return timelines;
}

}  // namespace vitsim
