#include "trainer/measure/budget.h"

#include <vector>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

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
