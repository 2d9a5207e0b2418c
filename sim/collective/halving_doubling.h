#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Recursive halving, then doubling (Rabenseifner 2004; Thakur, Rabenseifner, Gropp 2005, section
/// 3.2); ranks beyond a power of two first hand everything to a neighbour and get the result last.
StagedPlan halving_doubling_plan(std::uint32_t ranks, std::int64_t bytes);

}  // namespace vitsim
