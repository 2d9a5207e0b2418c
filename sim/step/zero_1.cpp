#include "sim/step/sharded.h"

// DeepSpeed's stage 1: with accumulation, the gradients travel behind the last micro-batch alone.

namespace vitsim {

StepProgram zero_1_program(const StepInput& input, const ShardPlan& plan) {
  ShardPlan mine = plan;
  mine.every_micro_batch = false;
  return sharded_program(input, mine);
}

}  // namespace vitsim
