#include "models/report/quantiles.h"

#include <algorithm>

#include "models/distribution.h"

namespace vitsim {

Quantiles quantiles_of(std::vector<double> values, bool known) {
  std::ranges::sort(values);
  Quantiles result;
  for (const double value : values) {
    result.mean += value / static_cast<double>(values.size());
  }
  result.p50 = quantile_of_sorted(values, 0.5);
  if (values.front() == values.back()) {
    result.mean = values.front();
  }
  if (known) {
    result.p05 = quantile_of_sorted(values, 0.05);
    result.p95 = quantile_of_sorted(values, 0.95);
  }
  return result;
}

}  // namespace vitsim
