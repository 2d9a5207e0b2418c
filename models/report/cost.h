#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "models/experiment/failures.h"
#include "models/report/report.h"
#include "models/units.h"

namespace vitsim {

/// Heavy work draws this share of what nodes are rated for: a node of eight H100 that is rated
/// 10.2 kW, under load.
inline constexpr double kPowerShareOfRating = 0.76;
/// Standard deviation of the logarithm of an energy that is told from ratings alone: published
/// comparisons with meters are 27 to 37 % off.
inline constexpr double kRatedPowerSpread = 0.3;

/// GPUs of one kind that a run holds.
struct HeldGpus {
  std::string gpu;
  std::int64_t count = 0;
  std::optional<Watts> rated_power;
  std::optional<Watts> measured_power = std::nullopt;  // of each, while the run trained
};

/// What a run of `total` costs that holds all of these GPUs from its begin to its end: hours,
/// price, energy with the building's overhead, carbon. A GPU draws what was measured, else the
/// file's power, else a share of its rating, whether it computes or waits. Nothing where neither
/// prices nor power are known.
std::optional<RunCost> run_cost(std::span<const HeldGpus> gpus,
                                const PriceSpec& prices,
                                Seconds total);

}  // namespace vitsim
