#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Recursive doubling with everything in each message (Thakur, Rabenseifner, Gropp
/// 2005, section 3.1).
StagedPlan recursive_doubling_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
