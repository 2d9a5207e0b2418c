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
                          std::int64_t parts,
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
  after = {host.optimizer ? writer.update_by_host(host, parts, after)
                          : writer.update(static_cast<double>(parts), after)};
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
  return write_steps(
      input,
      everybody(input),
      [&](ProgramWriter& writer,
          const std::vector<MicroBatchSeconds>& batches,
          const ClassWork& work) {
        std::vector<std::uint32_t> last;
        for (std::size_t i = 0; i < batches.size(); ++i) {
          writer.forward(batches[i], std::move(last));
          last.clear();
          const bool reduces = plan.every_micro_batch || i + 1 == batches.size();
          CutPass backward(writer,
                           Phase::kBackward,
                           batches[i].backward,
                           plan.overlaps && reduces ? work.overlap_slowdown : 1);
          if (reduces && plan.overlaps) {
            for (const SyncBucket& bucket : kept) {
              const std::uint32_t ready = backward.until(bucket.ready_share);
              last = reduce(writer, bucket, {ready});
            }
          }
          const std::uint32_t over = backward.until(1);
          if (reduces && !plan.overlaps) {
            last = {over};
            for (const SyncBucket& bucket : kept) {
              last = reduce(writer, bucket, std::move(last));
            }
          }
        }
        if (last.empty()) {
          last = writer.last_compute();
        }
        write_sharded_update(
            writer, input, plan.host, plan.scalars, plan.parameters, ranks, std::move(last));
      });
}

}  // namespace vitsim
