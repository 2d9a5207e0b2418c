#include "sim/collective/folding.h"

#include <bit>

namespace vitsim {

Folding::Folding(std::uint32_t ranks) : power_(std::bit_floor(ranks)), aside_(ranks - power_) {}

std::uint32_t Folding::distances() const {
  return static_cast<std::uint32_t>(std::countr_zero(power_));
}

void Folding::fold(StagedPlan& plan, std::int64_t bytes) const {
  const std::uint32_t last = plan.stages - 1;
  for (std::uint32_t i = 0; i < aside_; ++i) {
    plan.at(2 * i, 0) = {.to = 2 * i + 1, .bytes = bytes};
    plan.at(2 * i + 1, 0) = {.from = 2 * i, .bytes = bytes};
    plan.at(2 * i + 1, last) = {.to = 2 * i, .bytes = bytes};
    plan.at(2 * i, last) = {.from = 2 * i + 1, .bytes = bytes};
  }
}

void Folding::exchange(StagedPlan& plan,
                       std::uint32_t stage,
                       std::uint32_t distance,
                       std::int64_t bytes) const {
  for (std::uint32_t x = 0; x < power_; ++x) {
    const std::uint32_t partner = member(x ^ distance);
    plan.at(member(x), stage) = {.to = partner, .from = partner, .bytes = bytes};
  }
}

}  // namespace vitsim
