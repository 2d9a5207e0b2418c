#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "models/units.h"

namespace vitsim {

/// A quantity read from text, or what is wrong with the text. Exactly one of both is set.
template <class Q>
struct ParsedQuantity {
  std::optional<Q> value;
  std::string problem;
};

/// Text of a number and a unit, e.g. "50us", "1.5 min". Units: ns, us, ms, s, min, h, d. A bare
/// number is a problem unless it is zero; so are NaN, infinity, and negative durations.
ParsedQuantity<Seconds> parse_seconds(std::string_view text);

/// Bits as in "10Gbps" or "100Mbit/s"; bytes as in "1.25GB/s" or "1GiB/s" (prefixes k, M, G, T are
/// powers of 1000; Ki, Mi, Gi, Ti of 1024). Negative figures are a problem.
ParsedQuantity<BytesPerSecond> parse_bandwidth(std::string_view text);

/// "64MiB", "4kB", "1GB", "8B".
ParsedQuantity<Bytes> parse_bytes(std::string_view text);

/// "530W", "0.5 kW".
ParsedQuantity<Watts> parse_watts(std::string_view text);

/// What to append to a bare number, e.g. `append a unit, e.g. "us" or "ms"`.
std::string missing_unit(Seconds kind);
std::string missing_unit(BytesPerSecond kind);
std::string missing_unit(Bytes kind);
std::string missing_unit(Watts kind);

/// For people: "29 min 11 s", "1 h 2 min", "3.21 s", "145.2 ms", "35.1 us".
std::string human(Seconds duration);
/// For people, powers of 1000: "1.13 GB/s".
std::string human(BytesPerSecond bandwidth);
/// For people, powers of 1024: "3.9 GiB".
std::string human(Bytes size);
/// For people, powers of 1000: "17.56 TFLOP/s".
std::string human(FlopsPerSecond speed);

}  // namespace vitsim
