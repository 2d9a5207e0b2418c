#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/units.h"

namespace vitsim {

/// Ranks whose compute takes equally long at equal micro-batches.
struct BalancedRanks {
  std::int64_t count = 1;
  std::function<Seconds(std::int64_t)> time;  // of a step at a micro-batch; never falls with it
  std::optional<std::int64_t> largest;        // micro-batch that fits; none: no limit
};

/// Micro-batches of ranks that are alike: `with_more` of them have `micro_batch` + 1.
struct RankBatches {
  std::int64_t micro_batch = 0;
  std::int64_t with_more = 0;

  bool operator==(const RankBatches&) const = default;

  [[nodiscard]] std::int64_t largest() const { return micro_batch + (with_more > 0 ? 1 : 0); }

  [[nodiscard]] std::int64_t sum(std::int64_t ranks) const {
    return micro_batch * ranks + with_more;
  }
};

struct Balance {
  std::vector<RankBatches> batches;  // by entry
  Seconds slowest;                   // rank's compute
};

/// The micro-batches, at least 1 each and no larger than fits, that add up to `samples` and let the
/// slowest rank be done earliest. Nothing where no micro-batches add up to them.
std::optional<Balance> balance(std::span<const BalancedRanks> ranks, std::int64_t samples);

}  // namespace vitsim
