#pragma once

#include <cstdint>
#include <optional>

#include "models/experiment/training.h"

namespace vitsim {

/// Learning rate of update `update` (from 0) of a run of `run_updates`. Warm-up rises linearly, or
/// with the logarithm of the step as DeepSpeed's WarmupLR does; then constant, half a cosine
/// (Loshchilov and Hutter, 2017) or a line down to `final_fraction` x lr, which holds after that.
double learning_rate(const OptimizerSpec& optimizer,
                     const std::optional<ScheduleSpec>& schedule,
                     std::int64_t update,
                     std::int64_t run_updates);

}  // namespace vitsim
