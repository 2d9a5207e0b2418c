#include "sim/predict/run_time.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "models/error.h"
#include "models/report/cost.h"
#include "models/vit/memory.h"
#include "sim/sample/step_model.h"

namespace vitsim {

namespace {

bool has_own_test_set(const TrainingSpec& training) {
  return training.dataset.name == "cifar10" || training.dataset.name == "cifar100";
}

// Step and epoch.
std::pair<Seconds, Seconds> plain_times(const ResolvedJob& job) {
  const StepModel model(job);
  const Seconds step(model.step_s());
  Seconds epoch = static_cast<double>(job.full_steps()) * step + job.epoch_start;
  if (job.last != nullptr) {
    epoch += Seconds(model.short_step_s());
  }
  return {step, epoch};
}

}  // namespace

Seconds evaluation_time(const ResolvedJob& job) {
  if (!job.training.evaluate) {
    return Seconds(0);
  }
  const std::int64_t samples =
      has_own_test_set(job.training) ? 10'000 : job.training.dataset.samples / 10;
  const auto world = static_cast<std::int64_t>(job.world_size());
  const std::int64_t per_rank = (samples + world - 1) / world;
  Seconds slowest;
  for (const RankClass& ranks : job.classes) {
    const std::int64_t batches = (per_rank + ranks.micro_batch() - 1) / ranks.micro_batch();
    const MicroBatchTimes times = ranks.compute->at(ranks.micro_batch());
    slowest = std::max(
        slowest, static_cast<double>(batches) * (times.data_load + times.forward * ranks.slowdown));
  }
  return slowest;
}

std::string evaluation_note(const ResolvedJob& job) {
  return job.training.evaluate && !has_own_test_set(job.training)
             ? "evaluation is charged for a test set of a tenth of the samples"
             : "";
}

RankMemory memory_of(const ResolvedJob& job, const RankClass& ranks) {
  RankMemory memory{.parts = memory_parts(job.training,
                                          job.gradient_ranks(),
                                          ranks.micro_batch(),
                                          ranks.compute->memory,
                                          ranks.held)};
  memory.total_bytes = memory.parts.total();
  if (ranks.compute->capacity) {
    memory.capacity_bytes = ranks.compute->capacity->value();
    memory.fits = memory.total_bytes <= *memory.capacity_bytes;
  }
  return memory;
}

std::optional<RunCost> cost_of(const ResolvedJob& job, const PriceSpec& prices, Seconds total) {
  std::map<std::string, HeldGpus> held;
  for (const RankClass& ranks : job.classes) {
    HeldGpus& kind = held[ranks.gpu];
    kind.gpu = ranks.gpu;
    kind.count += ranks.count;
    kind.rated_power = ranks.compute->rated_power;
  }
  std::vector<HeldGpus> kinds;
  kinds.reserve(held.size());
  for (auto& [name, kind] : held) {
    kinds.push_back(std::move(kind));
  }
  return run_cost(kinds, prices, total);
}

CheckpointPlan plain_checkpoints(const ResolvedExperiment& resolved, std::size_t job) {
  const ResolvedJob& of = resolved.jobs[job];
  if (!of.training.checkpoint) {
    return {};
  }
  const auto [step, epoch] = plain_times(of);
  return checkpoint_plan(of, resolved.experiment.failures, step, epoch, 1);
}

PlainPrediction predict_plainly(const ResolvedExperiment& resolved) {
  const ResolvedJob& job = resolved.jobs.front();
  const std::optional<FailureSpec>& failures = resolved.experiment.failures;
  PlainPrediction plain;
  std::tie(plain.step, plain.epoch) = plain_times(job);
  const auto epochs = static_cast<double>(job.training.epochs);
  const Seconds work = epochs * (plain.epoch + evaluation_time(job));
  CheckpointPlan checkpoints;
  const auto between = mean_time_between_failures(job, failures);
  if (job.training.checkpoint && job.training.checkpoint->is_automatic && between) {
    checkpoints = {.cost = checkpoint_cost(job.training),
                   .is_asynchronous = job.training.checkpoint->is_asynchronous};
    checkpoints.share = std::clamp<double>(daly_interval(checkpoints.cost, *between) / work,
                                           std::min<double>(1, plain.step / work),
                                           1);
  } else {
    checkpoints = checkpoint_plan(job, failures, plain.step, plain.epoch, 1);
  }
  plain.total = between ? expected_run_time(failing_run(job, failures, checkpoints, {}, work))
                        : work + checkpoints.added();
  plain.cost = cost_of(job, resolved.experiment.prices, plain.total);
  plain.fits = std::ranges::all_of(
      job.classes, [&](const RankClass& ranks) { return memory_of(job, ranks).fits; });
  return plain;
}

}  // namespace vitsim
