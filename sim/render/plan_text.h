#pragma once

#include <string>

#include "sim/plan/plan.h"

namespace vitsim {

/// A plan for people: the sentence that matters, the best options as changes to the file, what each
/// node and kind of GPU brings, what limits the best option.
std::string plan_text(const Plan& plan, const PlanRequest& request);
}  // namespace vitsim
