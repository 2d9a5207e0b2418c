#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// All-to-all of `bytes` a rank: in round k every rank sends ceil(bytes / N) to the rank k places
/// on and receives as much from the one k places back, N-1 rounds.
StagedPlan pairwise_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
