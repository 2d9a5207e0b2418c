#pragma once

#include <cstdint>
#include <vector>

#include "models/experiment/epoch.h"

namespace vitsim {

/// Which samples one rank takes in which micro-batch, as positions in the epoch's shuffled order.
///
/// With equal micro-batches as PyTorch's DistributedSampler deals: the order is repeated from its
/// start until the world size divides it, and rank r takes the positions r, r + world, .... With
/// unequal ones every step takes the next samples of the order, rank by rank in slices, so that
/// the samples of a step are the same for any split of the same sum. A plan made for one rank is
/// both at once.
class EpochDeal {
 public:
  EpochDeal(const EpochPlan& plan, std::int64_t rank, std::int64_t world);

  /// Micro-batches of the rank in the steps before `step`.
  [[nodiscard]] std::int64_t micro_batches_before(std::int64_t step) const;

  /// Micro-batches of the rank in the whole epoch.
  [[nodiscard]] std::int64_t micro_batches() const { return micro_batches_before(plan_.steps); }

  /// Positions, each in [0, subset), of the samples of the rank's micro-batch number `micro_batch`,
  /// counted from the start of the epoch.
  [[nodiscard]] std::vector<std::int64_t> positions(std::int64_t micro_batch) const;

 private:
  EpochPlan plan_;
  std::int64_t rank_;
  std::int64_t world_;
  bool interleaved_;
};

}  // namespace vitsim
