#include "sim/collective/halving_doubling.h"

#include "sim/collective/folding.h"

namespace vitsim {

StagedPlan halving_doubling_plan(std::uint32_t ranks, std::int64_t bytes) {
  const Folding folding(ranks);
  const std::uint32_t rounds = folding.distances();
  StagedPlan plan = empty_plan(ranks, 2 + 2 * rounds);
  folding.fold(plan, bytes);
  std::int64_t part = bytes;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    part = divide_up(part, 2);
    folding.exchange(plan, 1 + round, 1U << round, part);
    folding.exchange(plan, 2 * rounds - round, 1U << round, part);
  }
  return plan;
}

}  // namespace vitsim
