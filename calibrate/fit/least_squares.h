#pragma once

#include <functional>

#include <Eigen/Core>

namespace vitsim {

/// What a robust fit found.
struct LeastSquaresResult {
  Eigen::VectorXd x;
  Eigen::VectorXd residuals;   // normalised, at x
  Eigen::MatrixXd covariance;  // of x, from the weighted normal equations
  double cost = 0;             // what was minimised, at x
  int iterations = 0;
};

/// Minimises the sum of rho(r_i(x)^2) by Levenberg and Marquardt with a numeric Jacobian.
///
/// Residuals are normalised (standard deviation 1). rho is Cauchy's ln(1 + r^2/k^2)*k^2 with
/// k = `scale` for the first `robust` residuals, the plain square for the rest (priors). Source:
/// Triggs et al., "Bundle Adjustment", section 4.3; Marquardt 1963.
LeastSquaresResult robust_least_squares(
    const std::function<void(const Eigen::VectorXd& x, Eigen::VectorXd& residuals)>& evaluate,
    const Eigen::VectorXd& start,
    Eigen::Index residual_count,
    Eigen::Index robust,
    double scale = 2.4);

}  // namespace vitsim
