#pragma once

#include <compare>

namespace vitsim {

/// A physical quantity as a double in base units, with the exponents of its unit in the type: only
/// operations that mean something compile. `Bytes / BytesPerSecond` is `Seconds`; `Seconds + Bytes`
/// does not compile. A quantity without unit converts to `double`.
template <int TimeExponent, int ByteExponent, int FlopExponent, int EnergyExponent = 0>
class Quantity {
 public:
  constexpr Quantity() = default;

  explicit constexpr Quantity(double value) : value_(value) {}

  /// The number in base units (seconds, bytes, floating-point operations, joules).
  [[nodiscard]] constexpr double value() const { return value_; }

  // NOLINTNEXTLINE(google-explicit-constructor): a ratio is a plain number.
  constexpr operator double() const
      requires(TimeExponent == 0 && ByteExponent == 0 && FlopExponent == 0 && EnergyExponent == 0) {
    return value_;
  }

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes for a 0.
  constexpr auto operator<=>(const Quantity&) const = default;

  constexpr Quantity operator-() const { return Quantity(-value_); }

  constexpr Quantity& operator+=(Quantity other) {
    value_ += other.value_;
    return *this;
  }

  constexpr Quantity& operator-=(Quantity other) {
    value_ -= other.value_;
    return *this;
  }

  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }

  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }

  friend constexpr Quantity operator*(Quantity a, double factor) {
    return Quantity(a.value_ * factor);
  }

  friend constexpr Quantity operator*(double factor, Quantity a) { return a * factor; }

  friend constexpr Quantity operator/(Quantity a, double divisor) {
    return Quantity(a.value_ / divisor);
  }

 private:
  double value_ = 0;
};

template <int T1, int B1, int F1, int E1, int T2, int B2, int F2, int E2>
constexpr auto operator*(Quantity<T1, B1, F1, E1> a, Quantity<T2, B2, F2, E2> b) {
  return Quantity<T1 + T2, B1 + B2, F1 + F2, E1 + E2>(a.value() * b.value());
}

template <int T1, int B1, int F1, int E1, int T2, int B2, int F2, int E2>
constexpr auto operator/(Quantity<T1, B1, F1, E1> a, Quantity<T2, B2, F2, E2> b) {
  return Quantity<T1 - T2, B1 - B2, F1 - F2, E1 - E2>(a.value() / b.value());
}

using Seconds = Quantity<1, 0, 0>;
using Bytes = Quantity<0, 1, 0>;  // exact up to 2^53
using Flops = Quantity<0, 0, 1>;  // floating-point operations; a multiply-accumulate is two
using BytesPerSecond = Quantity<-1, 1, 0>;
using FlopsPerSecond = Quantity<-1, 0, 1>;
using Joules = Quantity<0, 0, 0, 1>;
using Watts = Quantity<-1, 0, 0, 1>;

inline constexpr Joules kKilowattHour{3.6e6};
inline constexpr Seconds kHour{3600};

constexpr Seconds microseconds(double value) {
  return Seconds(value * 1e-6);
}

constexpr Seconds milliseconds(double value) {
  return Seconds(value * 1e-3);
}

constexpr Bytes mebibytes(double value) {
  return Bytes(value * 1024 * 1024);
}

}  // namespace vitsim
