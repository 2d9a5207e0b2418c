#pragma once

#include <vector>

#include "models/report/report.h"

namespace vitsim {

/// Mean and quantiles of one figure over runs, at least one. p05 and p95 only where the spread
/// between runs is `known`.
Quantiles quantiles_of(std::vector<double> values, bool known);

}  // namespace vitsim
