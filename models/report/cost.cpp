#include "models/report/cost.h"

#include <cmath>

namespace vitsim {

std::optional<RunCost> run_cost(std::span<const HeldGpus> gpus,
                                const PriceSpec& prices,
                                Seconds total) {
  RunCost cost{.currency = prices.currency};
  const double hours = total / kHour;
  bool has_prices = !prices.per_gpu_hour.empty();
  bool has_power = true;
  double price = 0;
  Watts drawn;
  Watts estimated;  // of `drawn`: from ratings
  for (const HeldGpus& held : gpus) {
    const auto count = static_cast<double>(held.count);
    cost.gpu_hours += count * hours;
    const auto per_hour = prices.per_gpu_hour.find(held.gpu);
    has_prices = has_prices && per_hour != prices.per_gpu_hour.end();
    price += has_prices ? count * hours * per_hour->second : 0;
    const auto power = prices.power.find(held.gpu);
    if (held.measured_power) {
      drawn += count * *held.measured_power;
    } else if (power != prices.power.end()) {
      drawn += count * power->second;
    } else if (held.rated_power) {
      const Watts one = kPowerShareOfRating * *held.rated_power;
      drawn += count * one;
      estimated += count * one;
    } else {
      has_power = false;
    }
  }
  if (has_prices) {
    cost.price = price;
  }
  if (has_power) {
    cost.energy_kwh = drawn * total * prices.pue / kKilowattHour;
    cost.co2e_kg = *cost.energy_kwh * prices.g_co2e_per_kwh / 1000;
    cost.energy_spread =
        drawn.value() > 0 ? kRatedPowerSpread * (estimated.value() / drawn.value()) : 0;
  }
  return has_prices || has_power ? std::optional(cost) : std::nullopt;
}

}  // namespace vitsim
