#include "sim/collective/pairwise.h"

namespace vitsim {

StagedPlan pairwise_plan(std::uint32_t ranks, std::int64_t bytes) {
  StagedPlan plan = empty_plan(ranks, ranks - 1);
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    for (std::uint32_t round = 1; round < ranks; ++round) {
      plan.at(rank, round - 1) = {.to = (rank + round) % ranks,
                                  .from = (rank + ranks - round) % ranks,
                                  .bytes = divide_up(bytes, ranks)};
    }
  }
  return plan;
}

}  // namespace vitsim
