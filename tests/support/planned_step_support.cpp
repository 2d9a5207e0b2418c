#include "models/error.h"
#include "tests/support/planned_step.h"

namespace vitsim::testing {

std::shared_ptr<const StepProgram> make_program(const Communicator& group,
                                                const SyncPlan& plan,
                                                std::span<const RankTicks> work) {
  if (!plan.overlap_slowdown.empty() && plan.overlap_slowdown.size() != work.size()) {
    throw UserError("one overlap slowdown per rank is needed, or none");
  }
  StepInput input{.algorithm =
                      [&](CollectiveKind kind, std::int64_t bytes, std::span<const std::uint32_t>) {
                        return group.resolve(plan.algorithm, kind, bytes);
                      },
                  .collective_overhead = plan.collective_overhead};
  for (std::uint32_t i = 0; i < work.size(); ++i) {
    ClassWork mine{.optimizer = to_seconds(work[i].optimizer), .other = to_seconds(work[i].other)};
    for (const MicroBatchTicks& batch : work[i].micro_batches) {
      mine.micro_batches.push_back({.data_load = to_seconds(batch.data_load),
                                    .forward = to_seconds(batch.forward),
                                    .backward = to_seconds(batch.backward)});
    }
    if (!plan.overlap_slowdown.empty()) {
      mine.overlap_slowdown = plan.overlap_slowdown[i];
    }
    input.classes.push_back(std::move(mine));
    input.class_of.push_back(i);
  }
  if (plan.mode == GradientSync::kDeepspeedZero1) {
    ShardPlan shards{.gradients = plan.buckets};
    for (const SyncBucket& bucket : plan.buckets) {
      shards.parameters.push_back(bucket.bytes);
    }
    return std::make_shared<StepProgram>(zero_1_program(input, shards));
  }
  const auto build = plan.mode == GradientSync::kDdp              ? ddp_program
                     : plan.mode == GradientSync::kDeepspeedZero0 ? zero_0_program
                                                                  : distributed_optimizer_program;
  return std::make_shared<StepProgram>(build(input, plan.buckets));
}

PlannedStep::PlannedStep(const Network& network, std::vector<std::int64_t> ranks, SyncPlan plan)
    : group_(std::make_shared<const Communicator>(network, std::move(ranks))),
      plan_(std::move(plan)),
      speeds_(group_->size()) {
  // What is wrong with the plan shows at once.
  program_ = make_program(*group_, plan_, std::vector<RankTicks>(group_->size()));
}

bool PlannedStep::by_arrays() const {
  return StepExecutor(group_, *program_).by_arrays();
}

void PlannedStep::set_speed(std::uint32_t position, const std::vector<SlowInterval>& intervals) {
  speeds_[position] = intervals;
}

StepOutcome PlannedStep::run(std::span<const RankTicks> work, std::span<const Tick> starts) {
  return run(work, starts, false);
}

StepOutcome PlannedStep::run_events(std::span<const RankTicks> work, std::span<const Tick> starts) {
  return run(work, starts, true);
}

StepOutcome PlannedStep::run(std::span<const RankTicks> work,
                             std::span<const Tick> starts,
                             bool by_events) {
  // Work in ticks is exact as seconds: it is below 2^53.
  program_ = make_program(*group_, plan_, work);
  StepExecutor executor(group_, *program_);
  for (std::uint32_t i = 0; i < size(); ++i) {
    executor.set_speed(i, speeds_[i]);
  }
  const OperationTicks ticks(*program_);
  times_ = executor.make_times();
  std::vector<Tick> ends(size());
  if (by_events) {
    executor.run_events(ticks, starts, ends, &times_);
    events_ = executor.events();
  } else {
    executor.run(ticks, starts, ends, &times_);
  }
  const AloneTimes alone(*program_, executor.groups());
  StepOutcome outcome{.end = ends};
  for (std::uint32_t i = 0; i < size(); ++i) {
    const RankAccount mine = account_rank(*program_, times_, alone, i, starts[i]);
    outcome.ready.push_back(mine.ready);
    outcome.sync_end.push_back(mine.sync_end);
    outcome.busy.push_back(mine.step.communication);
    outcome.exposed.push_back(mine.step.exposed);
    outcome.wait.push_back(mine.step.wait);
  }
  return outcome;
}

JobPlan PlannedJob::plan(const Network& network) const {
  const Communicator group(network, ranks);
  return {.ranks = ranks,
          .full = make_program(group, sync, full),
          .last = last.empty() ? nullptr : make_program(group, sync, last),
          .steps = steps,
          .epochs = epochs,
          .after_epoch = after_epoch,
          .start = start};
}

}  // namespace vitsim::testing
