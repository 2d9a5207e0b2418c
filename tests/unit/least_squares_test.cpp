#include "calibrate/fit/least_squares.h"

#include <cmath>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

// y = 3 exp(-0.5 t) without noise: the fit must return 3 and 0.5.
TEST(LeastSquares, RecoversANonlinearCurve) {
  const auto evaluate = [](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    for (Eigen::Index i = 0; i < 8; ++i) {
      const double t = 0.5 * static_cast<double>(i);
      residuals[i] = x[0] * std::exp(-x[1] * t) - 3 * std::exp(-0.5 * t);
    }
  };
  const auto result = robust_least_squares(evaluate, Eigen::Vector2d(1, 1), 8, 8);
  EXPECT_NEAR(result.x[0], 3, 1e-7);
  EXPECT_NEAR(result.x[1], 0.5, 1e-7);
}

// Ten readings of 1 (sigma 0.1) and one of 5: the mean would be 1.36, Cauchy's estimate stays at 1.
TEST(LeastSquares, OneWildReadingDoesNotDragTheFit) {
  const auto evaluate = [](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    for (Eigen::Index i = 0; i < 10; ++i) {
      residuals[i] = (x[0] - 1) / 0.1;
    }
    residuals[10] = (x[0] - 5) / 0.1;
  };
  const auto result = robust_least_squares(evaluate, Eigen::VectorXd::Constant(1, 2.0), 11, 11);
  EXPECT_NEAR(result.x[0], 1, 0.01);
}

// Four readings of unit sigma and a prior of unit sigma: variance 1/5.
TEST(LeastSquares, CovarianceIsTheInverseOfTheInformation) {
  const auto evaluate = [](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    residuals.setConstant(x[0] - 2);
  };
  const auto result = robust_least_squares(evaluate, Eigen::VectorXd::Constant(1, 1.0), 5, 4);
  EXPECT_NEAR(result.covariance(0, 0), 0.2, 1e-6);
}

}  // namespace
}  // namespace vitsim
