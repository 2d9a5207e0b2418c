#include "trainer/step/gradient_reducer.h"

#include "models/error.h"

namespace vitsim {

void GradientReducer::wait_within_pass(Device& device, c10d::Work& work) {
  const Mark begin = device.mark();
  work.wait();
  pauses_.push_back({begin, device.mark()});
}

std::unique_ptr<GradientReducer> make_gradient_reducer(const ReducerContext& context) {
  const TrainingSpec& training = *context.training;
  switch (training.gradient_sync) {
    case GradientSync::kDdp:
      if (context.group->getSize() == 1) {
        return make_alone(context);
      }
      return training.local_updates ? make_local_sgd(context) : make_ddp(context);
    case GradientSync::kDeepspeedZero0:
      return make_zero_0(context);
    case GradientSync::kDeepspeedZero1:
      return make_zero_1(context);
    case GradientSync::kDeepspeedZero2:
      return make_zero_2(context);
    case GradientSync::kDistributedOptimizer:
      return make_distributed_optimizer(context);
    case GradientSync::kFsdp:
      return make_fsdp(context);
    case GradientSync::kDeepspeedZero3:
      break;
  }
  throw InternalError("a gradient_sync that cannot be trained was not refused");
}

}  // namespace vitsim
