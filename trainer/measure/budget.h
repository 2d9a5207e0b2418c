#pragma once

#include <chrono>
#include <span>

#include "models/units.h"

namespace vitsim {

/// The time that measuring may take, from its construction on.
class Budget {
 public:
  explicit Budget(Seconds total) : total_(total) {}

  [[nodiscard]] double elapsed_s() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

  [[nodiscard]] double left_s() const { return total_.value() - elapsed_s(); }

  [[nodiscard]] Seconds total() const { return total_; }

 private:
  Seconds total_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Half the width of the median's 95 % confidence interval by the median: the order statistics
/// around the middle bracket the true median with the probability of a binomial, whatever the
/// distribution (David and Nagaraja, Order Statistics, section 7.1). 1 for fewer than six values,
/// which cannot bracket it.
double median_uncertainty(std::span<const double> values);

}  // namespace vitsim
