#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Broadcast from position 0 along the chain 0, 1, 2, ... as NCCL's ring does, in the same chunks.
TreePlan chain_broadcast_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
