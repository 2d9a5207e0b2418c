#include "sim/collective/recursive_doubling.h"

#include "sim/collective/folding.h"

namespace vitsim {

StagedPlan recursive_doubling_plan(std::uint32_t ranks, std::int64_t bytes) {
  const Folding folding(ranks);
  const std::uint32_t rounds = folding.distances();
  StagedPlan plan = empty_plan(ranks, 2 + rounds);
  folding.fold(plan, bytes);
  for (std::uint32_t round = 0; round < rounds; ++round) {
    folding.exchange(plan, 1 + round, 1U << round, bytes);
  }
  return plan;
}

}  // namespace vitsim
