#include "trainer/measure/host_load.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "trainer/measure/budget.h"

namespace vitsim {
namespace {

TEST(HostLoad, EverythingButIdleAndDiskIsBusy) {
  // user 10 + nice 20 + system 30 + interrupts 60 + 70 + stolen 80; guest time (90) is user time.
  EXPECT_EQ(busy_ticks("cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4\n"), 270);
  EXPECT_EQ(busy_ticks("intr 5\n"), 0);
  EXPECT_EQ(busy_ticks(""), 0);
}

TEST(HostLoad, ProcessTimesStandBehindANameOfAnyLetters) {
  // Fields 14 and 15: 700 and 11.
  EXPECT_EQ(process_ticks("42 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 700 11 0 0 20"), 711);
  EXPECT_EQ(process_ticks("no such file"), 0);
}

TEST(HostLoad, OwnWorkIsNotForeign) {
  HostLoad load({getpid()});
  HostLoad without_us({});
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(600);
  while (std::chrono::steady_clock::now() < end) {
  }
  // This thread alone took 0.6 s of CPU; ticks are hundredths of a second, and whatever else runs
  // counts in both.
  EXPECT_GT(without_us.foreign_cpus() - load.foreign_cpus(), 0.5);
}

TEST(MedianUncertainty, KnowsNothingOfFewValues) {
  const std::vector<double> five(5, 1.0);
  EXPECT_EQ(median_uncertainty(five), 1);
  const std::vector<double> equal(6, 1.0);
  EXPECT_EQ(median_uncertainty(equal), 0);
}

TEST(MedianUncertainty, IsTheReachOfTheMiddleOrderStatistics) {
  // Of 1 to 100 the interval reaches 9.8 order statistics to either side of the middle: the 41st
  // and the 61st of the sorted values, half of that by the median (51): (61 - 41) / 2 / 51.
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) {
    values.push_back(i);
  }
  EXPECT_NEAR(median_uncertainty(values), 10.0 / 51, 1e-12);
}

}  // namespace
}  // namespace vitsim
