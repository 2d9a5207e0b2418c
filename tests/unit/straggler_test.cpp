#include "sim/sample/straggler.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include <gtest/gtest.h>

#include "models/distribution.h"
#include "sim/sample/random.h"

namespace vitsim {
namespace {

TEST(Straggler, WithoutNoiseTheSlowestIsTheSlowestAndTiesSplit) {
  const std::vector<RankLoad> loads = {{2, 0}, {3, 0}, {3, 0}, {1, 0}};
  const SlowestOf slowest = slowest_of(loads, true);
  EXPECT_DOUBLE_EQ(slowest.mean_s, 3);
  EXPECT_DOUBLE_EQ(slowest.sigma_s, 0);
  EXPECT_EQ(slowest.late_share, (std::vector<double>{0, 0.5, 0.5, 0}));
}

// One rank: its own mean, and sigma of a log-normal of mean m, m sqrt(exp(s^2) - 1).
TEST(Straggler, OneRankIsItself) {
  const std::vector<RankLoad> loads = {{2, 0.1}};
  const SlowestOf slowest = slowest_of(loads, true);
  EXPECT_NEAR(slowest.mean_s, 2, 1e-7);
  EXPECT_NEAR(slowest.sigma_s, 2 * std::sqrt(std::expm1(0.01)), 1e-6);
  EXPECT_NEAR(slowest.late_share[0], 1, 1e-7);
}

// For small sigma the maximum of two equal normals lies sigma / sqrt(pi) above their mean.
TEST(Straggler, TwoEqualRanksAreSlowerThanOne) {
  const double sigma = 1e-3;
  const std::vector<RankLoad> loads = {{1, sigma}, {1, sigma}};
  EXPECT_NEAR(slowest_of(loads, false).mean_s, 1 + sigma / std::sqrt(std::numbers::pi), 1e-6);
}

// Against plain sampling of 200,000 steps; tolerances are four standard errors.
TEST(Straggler, AgreesWithDrawingStepByStep) {
  const std::vector<RankLoad> loads = {
      {0.72, 0.005}, {0.205, 0.0015}, {0.73, 0.01}, {0.715, 0.02}, {0.725, 0}};
  const SlowestOf slowest = slowest_of(loads, true);
  constexpr int kSteps = 200'000;
  double sum = 0;
  double squares = 0;
  std::vector<double> late(loads.size());
  for (int step = 0; step < kSteps; ++step) {
    double largest = 0;
    std::size_t last = 0;
    for (std::size_t rank = 0; rank < loads.size(); ++rank) {
      const double z = normal_quantile(uniform_at(7, {static_cast<std::uint64_t>(step), rank}));
      const double sigma = loads[rank].sigma;
      const double seconds = loads[rank].seconds * std::exp(sigma * z - sigma * sigma / 2);
      if (seconds > largest) {
        largest = seconds;
        last = rank;
      }
    }
    sum += largest;
    squares += largest * largest;
    late[last] += 1.0 / kSteps;
  }
  const double mean = sum / kSteps;
  const double sigma = std::sqrt(squares / kSteps - mean * mean);
  EXPECT_NEAR(slowest.mean_s, mean, 4 * sigma / std::sqrt(kSteps));
  EXPECT_NEAR(slowest.sigma_s, sigma, 0.02 * sigma);
  for (std::size_t rank = 0; rank < loads.size(); ++rank) {
    EXPECT_NEAR(slowest.late_share[rank], late[rank], 4 * 0.5 / std::sqrt(kSteps)) << rank;
  }
  EXPECT_NEAR(std::accumulate(slowest.late_share.begin(), slowest.late_share.end(), 0.0), 1, 1e-6);
}

TEST(Straggler, AnotherRankNeverMakesTheSlowestFaster) {
  std::vector<RankLoad> loads = {{1, 0.02}};
  double before = slowest_of(loads, false).mean_s;
  for (int i = 0; i < 30; ++i) {
    loads.push_back({0.9 + 0.005 * i, 0.001 * (i % 7)});
    const double now = slowest_of(loads, false).mean_s;
    EXPECT_GE(now, before - 1e-9) << i;
    before = now;
  }
}

}  // namespace
}  // namespace vitsim
