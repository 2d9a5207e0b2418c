#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/training.h"
#include "models/units.h"
#include "sim/collective/communicator.h"

namespace vitsim {

/// One line of nccl-tests' table.
struct CollectiveRow {
  std::int64_t bytes = 0;  // of the whole buffer
  Algorithm algorithm = Algorithm::kRing;
  Seconds time;
  BytesPerSecond algbw;  // bytes / time
  BytesPerSecond busbw;  // algbw x 2(n-1)/n for AllReduce, (n-1)/n for reduce-scatter and
                         // all-gather, 1 for broadcast (nccl-tests, doc/PERFORMANCE.md)
};

/// Times of one collective among all ranks of `group`, everybody ready at once, for sizes from
/// `first` to `last` doubling. `overhead` is added to each call. A group of one takes no time, its
/// bandwidths are 0. Throws UserError where first is not positive or last is below it.
std::vector<CollectiveRow> collective_table(const Communicator& group,
                                            CollectiveKind kind,
                                            AllReduceAlgorithm algorithm,
                                            std::int64_t first,
                                            std::int64_t last,
                                            Tick overhead = 0);

}  // namespace vitsim
