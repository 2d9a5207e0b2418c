#include "sim/step/writer.h"

// DeepSpeed without sharding: gradients are flattened and reduced once backward is over, bucket
// after bucket; nothing overlaps.

namespace vitsim {

StepProgram zero_0_program(const StepInput& input, std::span<const SyncBucket> buckets) {
  if (input.world_size() < 2) {
    return alone_program(input);
  }
  const std::vector<SyncBucket> kept = checked_buckets(buckets);
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork&) {
    std::vector<std::uint32_t> last = {writer.compute(Phase::kBackward, {.seconds = backward})};
    for (const SyncBucket& bucket : kept) {
      last = {
          writer.collective(Phase::kGradientAllReduce, all_reduce_of(input, bucket.bytes), last)};
    }
    writer.update(1, last);
    writer.other();
  });
}

}  // namespace vitsim
