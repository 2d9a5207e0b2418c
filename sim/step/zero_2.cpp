#include "sim/step/sharded.h"

// DeepSpeed's stage 2 keeps the sums of its own part alone, so every micro-batch must be reduced.

namespace vitsim {

StepProgram zero_2_program(const StepInput& input, const ShardPlan& plan) {
  ShardPlan mine = plan;
  mine.every_micro_batch = true;
  return sharded_program(input, mine);
}

}  // namespace vitsim
