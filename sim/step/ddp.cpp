#include "sim/step/writer.h"

// PyTorch's DistributedDataParallel: the last backward is cut where buckets of gradients become
// ready. Each is reduced on the communication stream, in order, while backward goes on, slower
// beside it. The optimizer waits for the last. Communication hooks send something smaller instead
// of a bucket, PowerSGD three AllReduces one after another.

namespace vitsim {

StepProgram ddp_program(const StepInput& input, std::span<const SyncBucket> buckets) {
  if (input.world_size() < 2) {
    return alone_program(input);
  }
  const std::vector<SyncBucket> kept = checked_buckets(buckets);
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork& work) {
    const auto part = [&](double from, double to) {
      return writer.compute(
          Phase::kBackward,
          {.seconds = backward, .from = from, .to = to, .overlap_slowdown = work.overlap_slowdown});
    };
    double share = 0;
    std::vector<std::uint32_t> last;
    for (const SyncBucket& bucket : kept) {
      const std::uint32_t ready = part(share, bucket.ready_share);
      share = bucket.ready_share;
      last = reduce_bucket(writer, input, bucket, {ready});
    }
    part(share, 1);
    writer.update(1, last);
    writer.other();
  });
}

}  // namespace vitsim
