#pragma once

#include <cstdint>

namespace vitsim {

// The most that a file may ask for. Whatever is larger is a slip of the pen, and its products would
// not fit into 64 bits.

/// Ranks of a cluster, and so members of any group.
inline constexpr std::int64_t kMostRanks = 1'000'000;

/// Samples of a micro-batch, micro-batches of a step, epochs of a run.
inline constexpr std::int64_t kMostRepeats = 1'000'000;

/// Steps of a run or of a schedule.
inline constexpr std::int64_t kMostSteps = 1'000'000'000'000;

}  // namespace vitsim
