#pragma once

#include "sim/step/compute_stream.h"

namespace vitsim {

inline void run_optimizer(ComputeStream& stream, const RankWork& work) {
  stream.compute(Phase::kOptimizer, work.optimizer);
}

/// What is left of a step: logging, loss scale, Python.
inline void run_other(ComputeStream& stream, const RankWork& work) {
  stream.compute(Phase::kOther, work.other);
}

}  // namespace vitsim
