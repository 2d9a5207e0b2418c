#include "sim/engine/clock.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

namespace {

// NOLINTNEXTLINE(bugprone-integer-division): a bound, whole on purpose.
constexpr long double kMaxTicks = static_cast<long double>(std::numeric_limits<Tick>::max() / 4);

Tick checked(long double ticks) {
  if (!(ticks >= 0 && ticks <= kMaxTicks)) {
    throw UserError(
        fmt::format("a time of {:.3g} s does not fit the simulator's clock (0 to 26 days)",
                    static_cast<double>(ticks) * 1e-12));
  }
  return static_cast<Tick>(std::floor(ticks + 0.5L));
}

}  // namespace

Tick to_ticks(Seconds duration) {
  return checked(static_cast<long double>(duration.value()) * kTicksPerSecond);
}

Tick transfer_ticks(std::int64_t bytes, BytesPerSecond bandwidth) {
  const double rate = bandwidth.value();
  const auto whole_rate = static_cast<std::int64_t>(std::min(rate, 9e18));
  if (static_cast<double>(whole_rate) == rate) {
    const Int128 scaled = static_cast<Int128>(bytes) * kTicksPerSecond;
    const Int128 ticks = (2 * scaled + whole_rate) / (2 * static_cast<Int128>(whole_rate));
    return checked(static_cast<long double>(ticks));
  }
  return checked(static_cast<long double>(bytes) * kTicksPerSecond / rate);
}

}  // namespace vitsim
