#include "sim/step/sharded.h"

// ZeRO-1 and ZeRO-2 differ in when gradients are reduced: behind the last backward, or in every
// micro-batch. In both every rank receives all sums, keeps its part, updates that, and gathers the
// others' parts (DeepSpeed since its change 4695).

namespace vitsim {

void write_sharded_update(ProgramWriter& writer,
                          const StepInput& input,
                          const HostState& host,
                          const std::vector<std::int64_t>& scalars,
                          const std::vector<std::int64_t>& parameters,
                          std::int64_t ranks,
                          std::vector<std::uint32_t> after,
                          std::span<const std::uint32_t> members) {
  const bool several = input.world_size() > 1;
  for (const std::int64_t bytes : scalars) {
    if (several) {
      after = {
          writer.collective(Phase::kGradientAllReduce,
                            collective_of(input, CollectiveKind::kAllReduce, bytes, 0, members),
                            after)};
    }
  }
  after = {host.optimizer ? writer.update_by_host(host, ranks, after)
                          : writer.sharded_update(ranks, after)};
  for (const std::int64_t bytes : parameters) {
    if (several && bytes > 0) {
      after = {writer.collective(Phase::kParameterAllGather,
                                 collective_of(input, CollectiveKind::kAllGather, bytes),
                                 after)};
    }
  }
  writer.other(after);
}

StepProgram sharded_program(const StepInput& input, const ShardPlan& plan) {
  const std::int64_t ranks = input.world_size();
  if (ranks < 2 && !plan.host.optimizer) {
    return alone_program(input);
  }
  const std::vector<SyncBucket> kept =
      ranks < 2 ? std::vector<SyncBucket>() : checked_buckets(plan.gradients);
  const auto reduce =
      [&](ProgramWriter& writer, const SyncBucket& bucket, std::vector<std::uint32_t> after) {
        if (!plan.rooted) {
          return reduce_bucket(writer, input, bucket, std::move(after));
        }
        const Collective part =
            collective_of(input, CollectiveKind::kReduce, (bucket.bytes + ranks - 1) / ranks);
        for (std::int64_t root = 0; root < ranks; ++root) {
          after = {writer.collective(Phase::kGradientAllReduce, part, after)};
        }
        return after;
      };
  // Backward with the reductions of its gradients; what the update waits for.
  const auto reduced_backward = [&](ProgramWriter& writer, Seconds seconds, const ClassWork& work) {
    std::vector<std::uint32_t> last;
    CutPass backward(writer, Phase::kBackward, seconds, plan.overlaps ? work.overlap_slowdown : 1);
    if (plan.overlaps) {
      for (const SyncBucket& bucket : kept) {
        last = reduce(writer, bucket, {backward.until(bucket.ready_share)});
      }
      (void)backward.until(1);
    } else {
      last = {backward.until(1)};
      for (const SyncBucket& bucket : kept) {
        last = reduce(writer, bucket, std::move(last));
      }
    }
    return last;
  };
  const auto update = [&](ProgramWriter& writer, std::vector<std::uint32_t> last) {
    if (last.empty()) {
      last = writer.last_compute();
    }
    write_sharded_update(
        writer, input, plan.host, plan.scalars, plan.parameters, ranks, std::move(last));
  };
  if (!plan.every_micro_batch) {
    return write_program(input,
                         [&](ProgramWriter& writer, Seconds backward, const ClassWork& work) {
                           update(writer, reduced_backward(writer, backward, work));
                         });
  }
  return write_steps(input,
                     everybody(input),
                     [&](ProgramWriter& writer,
                         const std::vector<MicroBatchSeconds>& batches,
                         const ClassWork& work) {
                       std::vector<std::uint32_t> last;
                       for (const MicroBatchSeconds& batch : batches) {
                         writer.forward(batch, std::move(last));
                         last = reduced_backward(writer, batch.backward, work);
                       }
                       update(writer, std::move(last));
                     });
}

}  // namespace vitsim
