#include "trainer/measure/budget.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vitsim {

double median_uncertainty(std::span<const double> values) {
  constexpr std::size_t kLeast = 6;  // 1 - 2 / 2^6 is above 95 %
  constexpr double kQuantile = 1.96;
  if (values.size() < kLeast) {
    return 1;
  }
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const auto n = static_cast<double>(sorted.size());
  const double reach = kQuantile * std::sqrt(n) / 2;
  const auto low = static_cast<std::size_t>(std::max(0.0, std::floor(n / 2 - reach)));
  const auto high = static_cast<std::size_t>(std::min(n - 1, std::ceil(n / 2 + reach)));
  const double middle = sorted[sorted.size() / 2];
  return (sorted[high] - sorted[low]) / 2 / middle;
}

}  // namespace vitsim
