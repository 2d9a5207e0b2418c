#include "sim/run/checkpoints.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "models/error.h"
#include "models/vit/memory.h"
#include "sim/plan/balance.h"
#include "sim/sample/random.h"
#include "sim/sample/step_model.h"

namespace vitsim {

namespace {

constexpr std::uint64_t kLostPartStream = 102;

/// Compute of a rank of the class in a step at a micro-batch.
Seconds class_compute(const ResolvedJob& job, const RankClass& ranks, std::int64_t micro_batch) {
  const MicroBatchTimes times = ranks.compute->at(micro_batch);
  return static_cast<double>(job.training.accumulation) *
             (times.data_load + (times.forward + times.backward) * ranks.slowdown) +
         (ranks.compute->optimizer * ranks.slowdown) + ranks.compute->other;
}

std::int64_t steps_of(Seconds interval, Seconds step, std::int64_t most) {
  const double steps = std::round(interval / step);
  return steps >= static_cast<double>(most) ? most : std::max<std::int64_t>(1, std::llround(steps));
}

}  // namespace

Seconds checkpoint_cost(const TrainingSpec& training) {
  const auto& checkpoint = training.checkpoint;
  if (!checkpoint) {
    return Seconds(0);
  }
  if (checkpoint->bandwidth) {
    return checkpoint_bytes(training) / *checkpoint->bandwidth;
  }
  return checkpoint->cost.value_or(Seconds(0));
}

std::optional<Seconds> mean_time_between_failures(const ResolvedJob& job,
                                                  const std::optional<FailureSpec>& failures) {
  if (!failures) {
    return std::nullopt;
  }
  const std::size_t parts =
      failures->per == FailureUnit::kGpu ? job.world_size() : job.group->nodes().size();
  return failures->mean_time_between / static_cast<double>(parts);
}

CheckpointPlan checkpoint_plan(const ResolvedJob& job,
                               const std::optional<FailureSpec>& failures,
                               Seconds step,
                               Seconds epoch,
                               std::uint64_t seed) {
  CheckpointPlan plan;
  const auto& checkpoint = job.training.checkpoint;
  if (!checkpoint) {
    return plan;
  }
  plan.cost = checkpoint_cost(job.training);
  plan.is_asynchronous = checkpoint->is_asynchronous;
  const std::int64_t all_steps = job.plan.steps * job.training.epochs;
  const Seconds work = static_cast<double>(job.training.epochs) * epoch;
  // Steps of the run are taken to be alike; a last one that is short makes them shorter.
  const Seconds mean_step = work / static_cast<double>(all_steps);
  if (checkpoint->is_automatic) {
    const FailingRun run{.work = work,
                         .checkpoint = plan.cost,
                         .is_asynchronous = plan.is_asynchronous,
                         .mean_time_between = mean_time_between_failures(job, failures),
                         .restart = failures ? failures->restart : Seconds(0)};
    plan.steps = steps_of(best_interval(run, seed), mean_step, all_steps);
  } else if (checkpoint->every_time) {
    plan.steps = steps_of(*checkpoint->every_time, step, all_steps);
  } else {
    plan.steps = checkpoint->every > 0 ? checkpoint->every : job.plan.steps;
  }
  plan.count = all_steps / plan.steps;
  plan.share = static_cast<double>(plan.steps) / static_cast<double>(all_steps);
  return plan;
}

FailingRun failing_run(const ResolvedJob& job,
                       const std::optional<FailureSpec>& failures,
                       const CheckpointPlan& checkpoints,
                       std::vector<GivenFailure> given,
                       Seconds work) {
  return {.work = work,
          .interval = checkpoints.share * work,
          .checkpoint = checkpoints.cost,
          .is_asynchronous = checkpoints.is_asynchronous,
          .mean_time_between = mean_time_between_failures(job, failures),
          .restart = failures ? failures->restart : Seconds(0),
          .given = std::move(given),
          .speed = {}};
}

std::vector<GivenFailure> given_failures(const ResolvedJob& job,
                                         const std::vector<DisturbanceSpec>& events) {
  std::vector<GivenFailure> given;
  for (const DisturbanceSpec& event : events) {
    if (event.what == DisturbanceSpec::What::kFailure && event.from >= job.start &&
        std::ranges::find(job.ranks(), event.rank) != job.ranks().end()) {
      given.push_back({.at = event.from - job.start, .restart = event.to - event.from});
    }
  }
  std::ranges::stable_sort(given, {}, &GivenFailure::at);
  return given;
}

ElasticSpeed::ElasticSpeed(const ResolvedJob& job, FailureUnit per, std::uint64_t seed)
    : job_(job), seed_(seed) {
  std::map<std::size_t, std::vector<std::uint32_t>> nodes;
  if (!job.training.parallelism.shards.are_even()) {
    throw UserError(
        "\"on_failure\": \"continue\" is not modelled with shards of unequal size: write "
        "\"restart\", or training.parallelism.shards \"even\"");
  }
  for (std::uint32_t position = 0; position < job.world_size(); ++position) {
    samples_ += job.rank_class(position).micro_batch();
    if (per == FailureUnit::kGpu) {
      parts_.push_back({position});
    } else {
      nodes[job.network->node_of(job.ranks()[position])].push_back(position);
    }
  }
  for (auto& [node, positions] : nodes) {
    parts_.push_back(std::move(positions));
  }
  constexpr std::int64_t kTabulated = 4096;
  for (const RankClass& ranks : job.classes) {
    std::vector<Seconds>& table = tables_.emplace_back();
    for (std::int64_t batch = 0; batch <= std::min(samples_, kTabulated); ++batch) {
      table.push_back(class_compute(job, ranks, batch));
    }
  }
  step_ = Seconds(StepModel(job).step_s());
  for (const RankClass& ranks : job.classes) {
    slowest_ = std::max(slowest_, class_compute(job, ranks, ranks.micro_batch()));
  }
}

double ElasticSpeed::operator()(int replicate, std::int64_t failures) const {
  std::vector<std::int64_t> counts;
  for (const RankClass& ranks : job_.classes) {
    counts.push_back(ranks.count);
  }
  // A part of those left, each as likely as the others.
  constexpr std::size_t kManyParts = 64;
  const auto luck = static_cast<std::uint64_t>(parts_.size() > kManyParts ? 0 : replicate);
  std::set<std::size_t> lost;
  for (std::uint64_t draw = 0; static_cast<std::int64_t>(lost.size()) < failures; ++draw) {
    const double u = uniform_at(seed_, {kLostPartStream, luck, draw});
    const auto part = std::min(parts_.size() - 1,
                               static_cast<std::size_t>(u * static_cast<double>(parts_.size())));
    if (lost.insert(part).second) {
      for (const std::uint32_t position : parts_[part]) {
        --counts[job_.class_of[position]];
      }
    }
  }
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(counts); found != known_.end()) {
      return found->second;
    }
  }
  const double speed = step_ / (step_ - slowest_ + slowest_of(counts));
  const std::lock_guard lock(mutex_);
  known_.emplace(counts, speed);
  return speed;
}

Seconds ElasticSpeed::compute(std::size_t of, std::int64_t micro_batch) const {
  const std::vector<Seconds>& table = tables_[of];
  return micro_batch < static_cast<std::int64_t>(table.size())
             ? table[static_cast<std::size_t>(micro_batch)]
             : class_compute(job_, job_.classes[of], micro_batch);
}

Seconds ElasticSpeed::slowest_of(const std::vector<std::int64_t>& counts) const {
  std::vector<BalancedRanks> left;
  std::int64_t world = 0;
  for (const std::int64_t count : counts) {
    world += count;
  }
  for (std::size_t of = 0; of < counts.size(); ++of) {
    const RankClass& ranks = job_.classes[of];
    if (counts[of] == 0) {
      continue;
    }
    BalancedRanks entry{.count = counts[of],
                        .time = [this, of](std::int64_t batch) { return compute(of, batch); },
                        .largest = std::nullopt};
    if (ranks.compute->capacity) {
      entry.largest = largest_micro_batch(
          job_.training, world, ranks.compute->memory, *ranks.compute->capacity);
      entry.largest = entry.largest.value_or(0);
    }
    left.push_back(std::move(entry));
  }
  const auto found = balance(left, samples_);
  if (!found) {
    throw UserError(
        "\"on_failure\": \"continue\": the batch does not fit the memory of the GPUs that are "
        "left");
  }
  return found->slowest;
}

}  // namespace vitsim
