#include "models/document/quantity_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>

#include <fmt/format.h>

namespace vitsim {

namespace {

struct Unit {
  std::string_view name;
  double factor;       // base units in one of these, times `divisor`
  double divisor = 1;  // exact in a double where 1e-6 is not: "50us" is 50e-6 to the last bit
};

constexpr std::array<Unit, 8> kTimeUnits = {{{"ns", 1, 1e9},
                                             {"us", 1, 1e6},
                                             {"µs", 1, 1e6},
                                             {"ms", 1, 1e3},
                                             {"s", 1},
                                             {"min", 60},
                                             {"h", 3600},
                                             {"d", 86400}}};

constexpr double kKi = 1024;
constexpr std::array<Unit, 10> kByteUnits = {{{"B", 1},
                                              {"kB", 1e3},
                                              {"KB", 1e3},
                                              {"MB", 1e6},
                                              {"GB", 1e9},
                                              {"TB", 1e12},
                                              {"KiB", kKi},
                                              {"MiB", kKi* kKi},
                                              {"GiB", kKi* kKi* kKi},
                                              {"TiB", kKi* kKi* kKi* kKi}}};

constexpr std::array<Unit, 4> kPowerUnits = {{{"mW", 1, 1e3}, {"W", 1}, {"kW", 1e3}, {"MW", 1e6}}};

constexpr std::array<Unit, 5> kDecimalPrefixes = {
    {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}}};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<Unit> find_unit(std::span<const Unit> units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) {
      return unit;
    }
  }
  return std::nullopt;
}

// "Gbps", "Mbit/s", "Mb/s" are bits; "GB/s", "GiB/s", "GBps" are bytes: the case of the b decides.
std::optional<Unit> bandwidth_unit(std::string_view name) {
  for (const Unit& prefix : kDecimalPrefixes) {
    for (const std::string_view bits : {"bps", "bit/s", "b/s"}) {
      if (name.size() == prefix.name.size() + bits.size() && name.starts_with(prefix.name) &&
          name.ends_with(bits)) {
        return Unit{name, prefix.factor, 8};
      }
    }
  }
  for (const std::string_view per_second : {"/s", "ps"}) {
    if (name.ends_with(per_second)) {
      return find_unit(kByteUnits, name.substr(0, name.size() - per_second.size()));
    }
  }
  return std::nullopt;
}

std::string shown(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  return std::string(text.substr(0, kLongest)) + (text.size() > kLongest ? "..." : "");
}

template <class Q, class Find>
ParsedQuantity<Q> parse(std::string_view text, std::string_view units, Find find) {
  const std::string_view trimmed = trim(text);
  double number = 0;
  const char* first = trimmed.data();
  const char* const end = trimmed.data() + trimmed.size();
  if (first != end && *first == '+') {
    ++first;
  }
  // from_chars reads "nan" and "inf" too, which are no figures of anything here.
  const bool starts_like_number =
      first != end && (*first == '-' || *first == '.' || (*first >= '0' && *first <= '9'));
  const auto parsed = std::from_chars(first, end, number);
  if (!starts_like_number || parsed.ec == std::errc::invalid_argument) {
    return {.problem = fmt::format("\"{}\" is not a number with a unit ({})", shown(text), units)};
  }
  const std::string_view unit = trim({parsed.ptr, static_cast<std::size_t>(end - parsed.ptr)});
  if (parsed.ec == std::errc::result_out_of_range || !std::isfinite(number)) {
    return {.problem = fmt::format("\"{}\" is out of range", shown(text))};
  }
  if (number < 0) {
    return {.problem = fmt::format("\"{}\" must not be negative", shown(text))};
  }
  if (unit.empty()) {
    if (number == 0) {
      return {.value = Q(0)};
    }
    return {.problem = fmt::format("\"{}\" has no unit: {}", shown(text), missing_unit(Q()))};
  }
  const std::optional<Unit> scale = find(unit);
  if (!scale) {
    return {.problem = fmt::format(
                "\"{}\" has an unknown unit \"{}\" (known: {})", shown(text), shown(unit), units)};
  }
  const double value = number * scale->factor / scale->divisor;
  if (!std::isfinite(value) || (value == 0 && number != 0)) {
    return {.problem = fmt::format("\"{}\" is out of range", shown(text))};
  }
  return {.value = Q(value)};
}

// Three significant digits or so, as in "1.13", "12.3", "145.2".
std::string short_number(double value) {
  return fmt::format("{:.{}f}", value, value < 9.995 ? 2 : 1);
}

std::string scaled(double value, double base, std::span<const std::string_view> units) {
  std::size_t i = 0;
  while (i + 1 < units.size() && std::abs(value) >= base * 0.99995) {
    value /= base;
    ++i;
  }
  return i == 0 ? fmt::format("{:.4g} {}", value, units[0])
                : fmt::format("{} {}", short_number(value), units[i]);
}

}  // namespace

ParsedQuantity<Seconds> parse_seconds(std::string_view text) {
  return parse<Seconds>(text, "ns, us, ms, s, min, h, d", [](std::string_view unit) {
    return find_unit(kTimeUnits, unit);
  });
}

ParsedQuantity<BytesPerSecond> parse_bandwidth(std::string_view text) {
  return parse<BytesPerSecond>(text, "Gbps, Mbit/s, GB/s, MiB/s and the like", bandwidth_unit);
}

ParsedQuantity<Bytes> parse_bytes(std::string_view text) {
  return parse<Bytes>(text, "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB", [](std::string_view unit) {
    return find_unit(kByteUnits, unit);
  });
}

ParsedQuantity<Watts> parse_watts(std::string_view text) {
  return parse<Watts>(
      text, "W, kW, MW, mW", [](std::string_view unit) { return find_unit(kPowerUnits, unit); });
}

std::string missing_unit(Seconds) {
  return R"(append one, e.g. "us", "ms" or "s")";
}

std::string missing_unit(BytesPerSecond) {
  return R"(append one, e.g. "Gbps" for bits or "GB/s" for bytes)";
}

std::string missing_unit(Bytes) {
  return R"(append one, e.g. "MiB", "MB" or "B")";
}

std::string missing_unit(Watts) {
  return R"(append one, e.g. "W" or "kW")";
}

std::string human(Seconds duration) {
  const double s = duration.value();
  if (!std::isfinite(s)) {
    return fmt::format("{} s", s);
  }
  if (s < 0) {
    return "-" + human(-duration);
  }
  if (s == 0) {
    return "0 s";
  }
  if (s < 999.95e-9) {
    return fmt::format("{:.3g} ns", s * 1e9);
  }
  if (s < 999.95e-6) {
    return short_number(s * 1e6) + " us";
  }
  if (s < 999.95e-3) {
    return short_number(s * 1e3) + " ms";
  }
  if (s < 59.95) {
    return short_number(s) + " s";
  }
  if (s > 1e15) {
    return fmt::format("{:.3g} s", s);
  }
  // Rounded to the smaller of the two parts first, so that 3599.9 s is not "59 min 60 s".
  const auto seconds = std::llround(s);
  if (seconds < 3600) {
    return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  }
  const auto minutes = std::llround(s / 60);
  if (minutes / 60 < 24) {
    return fmt::format("{} h {} min", minutes / 60, minutes % 60);
  }
  const auto hours = std::llround(s / 3600);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

std::string human(BytesPerSecond bandwidth) {
  static constexpr std::array<std::string_view, 6> kUnits = {
      "B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"};
  return scaled(bandwidth.value(), 1000, kUnits);
}

std::string human(Bytes size) {
  static constexpr std::array<std::string_view, 6> kUnits = {
      "B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t i = 0;
  double value = size.value();
  while (i + 1 < kUnits.size() && std::abs(value) >= 1023.95) {
    value /= 1024;
    ++i;
  }
  return i == 0 ? fmt::format("{:.0f} B", value) : fmt::format("{:.1f} {}", value, kUnits[i]);
}

std::string human(FlopsPerSecond speed) {
  static constexpr std::array<std::string_view, 6> kUnits = {
      "FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"};
  return scaled(speed.value(), 1000, kUnits);
}

}  // namespace vitsim
