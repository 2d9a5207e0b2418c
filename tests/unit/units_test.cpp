#include "models/units.h"

#include <concepts>
#include <type_traits>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};

template <class A, class B>
concept Comparable = requires(A a, B b) {
  a < b;
};

template <class A, class B>
concept Assignable = requires(A a, B b) {
  a = b;
};

// What has no meaning does not compile.
static_assert(Addable<Seconds, Seconds>);
static_assert(!Addable<Seconds, Bytes>);
static_assert(!Addable<Seconds, double>);
static_assert(!Addable<BytesPerSecond, Bytes>);
static_assert(!Comparable<Seconds, Bytes>);
static_assert(!Assignable<Seconds, double>);
static_assert(!Assignable<Seconds, Bytes>);
static_assert(!std::convertible_to<Seconds, double>);
static_assert(!std::convertible_to<double, Seconds>);

// What has one gives the right unit.
static_assert(std::same_as<decltype(Bytes() / BytesPerSecond()), Seconds>);
static_assert(std::same_as<decltype(Flops() / FlopsPerSecond()), Seconds>);
static_assert(std::same_as<decltype(Bytes() / Seconds()), BytesPerSecond>);
static_assert(std::same_as<decltype(BytesPerSecond() * Seconds()), Bytes>);
static_assert(std::convertible_to<decltype(Seconds() / Seconds()), double>);

TEST(Units, Arithmetic) {
  // 1.25 GB at 1.25 GB/s.
  EXPECT_EQ(Bytes(1.25e9) / BytesPerSecond(1.25e9), Seconds(1));
  EXPECT_EQ(2 * Seconds(3) + Seconds(1) - Seconds(2) / 2, Seconds(6));
  EXPECT_EQ(-Seconds(1) + Seconds(1), Seconds());
  EXPECT_LT(Seconds(1), Seconds(2));
  const double ratio = Seconds(3) / Seconds(2);
  EXPECT_EQ(ratio, 1.5);
}

TEST(Units, Prefixes) {
  EXPECT_DOUBLE_EQ(microseconds(50).value(), 50e-6);
  EXPECT_DOUBLE_EQ(milliseconds(50).value(), 50e-3);
  EXPECT_EQ(mebibytes(64), Bytes(67'108'864));
}

}  // namespace
}  // namespace vitsim
