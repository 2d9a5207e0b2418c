#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Binomial tree from position 0, unsegmented: reduce, then broadcast.
TreePlan reduce_broadcast_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
