#include "sim/step/writer.h"

// DeepSpeed's 1-bit Adam and LAMB, and 0/1 Adam, once they compress (Tang et al., 2021). Of every
// tensor, or of one flat momentum, each rank sends the signs, packed, and a scale: an AllToAll
// brings each rank all signs of its part; an AllGather the scales; the part's average is compressed
// again and gathered with its scales. All four follow each other behind backward. Packing and
// unpacking on the GPU is neglected.

namespace vitsim {

StepProgram one_bit_program(const StepInput& input, std::span<const std::int64_t> tensor_bytes) {
  const std::int64_t ranks = input.world_size();
  if (ranks < 2) {
    return alone_program(input);
  }
  const std::int64_t scales = 4 * ranks;
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork&) {
    std::vector<std::uint32_t> last = {writer.compute(Phase::kBackward, {.seconds = backward})};
    const auto send = [&](CollectiveKind kind, std::int64_t bytes) {
      last = {
          writer.collective(Phase::kGradientAllReduce, collective_of(input, kind, bytes), last)};
    };
    for (const std::int64_t bytes : tensor_bytes) {
      send(CollectiveKind::kAllToAll, bytes);
      send(CollectiveKind::kAllGather, scales);
      send(CollectiveKind::kAllGather, bytes);
      send(CollectiveKind::kAllGather, scales);
    }
    writer.update(1, last);
    writer.other();
  });
}

}  // namespace vitsim
