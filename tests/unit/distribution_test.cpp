#include "models/distribution.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

TEST(Distribution, NormalQuantileInvertsTheDistributionFunction) {
  for (const double p : {1e-6, 0.001, 0.02, 0.3, 0.5, 0.9, 0.975, 0.999999}) {
    EXPECT_NEAR(normal_cdf(normal_quantile(p)), p, 1e-9 * (1 + p));
  }
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-8);
}

// Two-sided 5 % and 10 % points from the usual printed tables.
TEST(Distribution, StudentQuantilesAgreeWithPrintedTables) {
  EXPECT_NEAR(student_quantile(0.95, 1), 6.3138, 1e-4);
  EXPECT_NEAR(student_quantile(0.975, 2), 4.3027, 1e-4);
  EXPECT_NEAR(student_quantile(0.95, 3), 2.3534, 2e-4);
  EXPECT_NEAR(student_quantile(0.95, 10), 1.8125, 1e-4);
  EXPECT_NEAR(student_quantile(0.975, 30), 2.0423, 1e-4);
  EXPECT_DOUBLE_EQ(student_quantile(0.2, 7), -student_quantile(0.8, 7));
}

// E max of two standard normals is 1/sqrt(pi) = 0.5642; of four 1.0294 (Harter 1961).
TEST(Distribution, ExpectedMaximumIsCloseToHartersTable) {
  EXPECT_EQ(expected_maximum(1), 0);
  EXPECT_NEAR(expected_maximum(2), 0.5642, 0.03);
  EXPECT_NEAR(expected_maximum(4), 1.0294, 0.03);
  EXPECT_NEAR(expected_maximum(100), 2.5076, 0.03);
}

TEST(Distribution, QuantilesInterpolateBetweenOrderStatistics) {
  const std::array sorted = {1.0, 2.0, 4.0, 8.0};
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.5), 3);  // halfway between 2 and 4
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 1), 8);
  EXPECT_DOUBLE_EQ(median(std::array{9.0, 1.0, 5.0}), 5);
}

// Deviations from the median 3 are 2, 1, 0, 1, 97: their median is 1.
TEST(Distribution, RobustSigmaIgnoresAnOutlier) {
  EXPECT_NEAR(robust_sigma(std::array{1.0, 2.0, 3.0, 4.0, 100.0}), 1.4826, 1e-12);
}

}  // namespace
}  // namespace vitsim
