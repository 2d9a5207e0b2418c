#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vitsim {

/// floor(samples * fraction), the fraction taken as the decimal that was written: the shortest one
/// that reads back as the same double. 0.07 of 50,000 is 3,500.
std::int64_t subset_samples(std::int64_t samples, double fraction);

/// Micro-batches of one rank in one step: `count` forward passes, all of `size` samples but the
/// last, which has `last`. A rank without samples in a short step has count 0.
struct StepShape {
  std::int64_t count = 0;
  std::int64_t size = 0;
  std::int64_t last = 0;

  bool operator==(const StepShape&) const = default;

  [[nodiscard]] std::int64_t samples() const { return count == 0 ? 0 : (count - 1) * size + last; }
};

/// How many steps an epoch has and what every rank does in them. The trainer and the simulator
/// share this arithmetic.
struct EpochPlan {
  std::int64_t subset = 0;      // samples of the data set that an epoch visits
  std::int64_t samples = 0;     // samples processed by all ranks, padding included
  std::int64_t steps = 0;       // optimizer updates, the last one may be short
  std::vector<StepShape> full;  // by rank
  std::vector<StepShape> last;  // by rank; equals `full` where the last step is not short

  [[nodiscard]] bool last_is_short() const { return full != last; }
};

/// With equal micro-batches every rank has ceil(subset / world) samples (DistributedSampler pads)
/// and ceil(per_rank / (micro_batch * accumulation)) steps. With unequal ones an epoch has
/// ceil(subset / (accumulation * sum of micro-batches)) steps and the last is dealt in the same
/// proportions by largest remainder, lower rank first. Accumulation never crosses an epoch.
///
/// `micro_batch` has one entry for all ranks, or one per rank. All arguments must be positive.
EpochPlan plan_epoch(std::int64_t subset,
                     std::int64_t world_size,
                     std::span<const std::int64_t> micro_batch,
                     std::int64_t accumulation);

}  // namespace vitsim
