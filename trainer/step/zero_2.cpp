// ZeRO stage 2 as DeepSpeed does it: gradients are taken from backward as soon as they are ready
// and summed on all ranks in buckets, in every micro-batch; what is kept of the sum is this rank's
// shard. That saves the memory of whole gradients, 2 + 14/N bytes a parameter in 16 bits, for an
// AllReduce each time gradients accumulate, and for the bucket's buffer.
#include "trainer/step/zero_1.h"

namespace vitsim {

std::unique_ptr<GradientReducer> make_zero_2(const ReducerContext& context) {
  return std::make_unique<Zero1>(context, /*every_micro_batch=*/true);
}

}  // namespace vitsim
