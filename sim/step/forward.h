#pragma once

#include "sim/step/compute_stream.h"

namespace vitsim {

inline void run_forward(ComputeStream& stream, const MicroBatchWork& batch) {
  stream.compute(Phase::kForward, batch.forward);
}

}  // namespace vitsim
