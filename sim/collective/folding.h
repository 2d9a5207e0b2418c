#pragma once

#include <cstdint>

#include "sim/collective/plan.h"

namespace vitsim {

/// Power-of-two algorithms on any number of ranks. The ranks beyond the largest power of two hand
/// their data to a neighbour in the first stage and get the result in the last: of the first 2r
/// ranks the even ones stand aside.
class Folding {
 public:
  explicit Folding(std::uint32_t ranks);

  [[nodiscard]] std::uint32_t power() const { return power_; }

  /// Base-two logarithm of `power()`.
  [[nodiscard]] std::uint32_t distances() const;

  /// Ranks that stand aside.
  [[nodiscard]] std::uint32_t aside() const { return aside_; }

  /// Position of the x-th rank that takes part.
  [[nodiscard]] std::uint32_t member(std::uint32_t x) const {
    return x < aside_ ? 2 * x + 1 : x + aside_;
  }

  /// Sets the first and last stage of `plan`, in which `bytes` are handed over.
  void fold(StagedPlan& plan, std::int64_t bytes) const;

  /// Makes `stage` an exchange of `bytes` between members whose numbers differ by `distance`, a
  /// power of two.
  void exchange(StagedPlan& plan,
                std::uint32_t stage,
                std::uint32_t distance,
                std::int64_t bytes) const;

 private:
  std::uint32_t power_;
  std::uint32_t aside_;
};

}  // namespace vitsim
