#include "sim/step/writer.h"

// Megatron's distributed optimizer: every rank keeps the optimizer's state of one part of the
// weights. Gradients are reduce-scattered after backward, each rank updates its part, and the parts
// are gathered.

namespace vitsim {

StepProgram distributed_optimizer_program(const StepInput& input,
                                          std::span<const SyncBucket> buckets) {
  if (input.world_size() < 2) {
    return alone_program(input);
  }
  const std::vector<SyncBucket> kept = checked_buckets(buckets);
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork&) {
    std::vector<std::uint32_t> last = {writer.compute(Phase::kBackward, {.seconds = backward})};
    for (const SyncBucket& bucket : kept) {
      last = {writer.collective(Phase::kGradientAllReduce,
                                collective_of(input, CollectiveKind::kReduceScatter, bucket.bytes),
                                last)};
    }
    last = {writer.sharded_update(input.world_size(), last)};
    for (const SyncBucket& bucket : kept) {
      last = {writer.collective(Phase::kParameterAllGather,
                                collective_of(input, CollectiveKind::kAllGather, bucket.bytes),
                                last)};
    }
    writer.other(last);
  });
}

}  // namespace vitsim
