#include "calibrate/fit/least_squares.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/Cholesky>

namespace vitsim {

namespace {

double cost(const Eigen::VectorXd& residuals, Eigen::Index robust, double scale) {
  double total = 0;
  for (Eigen::Index i = 0; i < residuals.size(); ++i) {
    const double square = residuals[i] * residuals[i];
    total += i < robust ? scale * scale * std::log1p(square / (scale * scale)) : square;
  }
  return total;
}

}  // namespace

LeastSquaresResult robust_least_squares(
    const std::function<void(const Eigen::VectorXd&, Eigen::VectorXd&)>& evaluate,
    const Eigen::VectorXd& start,
    Eigen::Index residual_count,
    Eigen::Index robust,
    double scale) {
  constexpr int kMaxIterations = 200;
  const Eigen::Index n = start.size();
  LeastSquaresResult result{
      .x = start, .residuals = Eigen::VectorXd(residual_count), .covariance = {}};
  evaluate(result.x, result.residuals);
  double best = cost(result.residuals, robust, scale);

  Eigen::MatrixXd jacobian(residual_count, n);
  Eigen::VectorXd moved(residual_count);
  Eigen::VectorXd weights(residual_count);
  double damping = 1e-3;
  const auto linearise = [&] {
    for (Eigen::Index j = 0; j < n; ++j) {
      const double step = 1e-6 * std::max(1.0, std::abs(result.x[j]));
      Eigen::VectorXd shifted = result.x;
      shifted[j] += step;
      evaluate(shifted, moved);
      jacobian.col(j) = (moved - result.residuals) / step;
    }
    for (Eigen::Index i = 0; i < residual_count; ++i) {
      const double square = result.residuals[i] * result.residuals[i];
      weights[i] = i < robust ? 1 / (1 + square / (scale * scale)) : 1;
    }
  };

  linearise();
  for (result.iterations = 0; result.iterations < kMaxIterations; ++result.iterations) {
    const Eigen::MatrixXd normal = jacobian.transpose() * weights.asDiagonal() * jacobian;
    const Eigen::VectorXd gradient = jacobian.transpose() * weights.asDiagonal() * result.residuals;
    Eigen::MatrixXd damped = normal;
    damped.diagonal() += damping * (normal.diagonal().array() + 1e-9).matrix();
    const Eigen::VectorXd step = damped.ldlt().solve(-gradient);
    const Eigen::VectorXd trial = result.x + step;
    evaluate(trial, moved);
    const double trial_cost =
        moved.allFinite() ? cost(moved, robust, scale) : std::numeric_limits<double>::infinity();
    if (trial_cost < best) {
      const bool settled = best - trial_cost < 1e-12 * (1 + best);
      result.x = trial;
      result.residuals = moved;
      best = trial_cost;
      damping = std::max(damping / 5, 1e-12);
      linearise();
      if (settled) {
        break;
      }
    } else if (damping > 1e9 || step.norm() < 1e-10 * (1 + result.x.norm())) {
      break;
    } else {
      damping *= 4;
    }
  }
  result.cost = best;
  const Eigen::MatrixXd normal = jacobian.transpose() * weights.asDiagonal() * jacobian;
  result.covariance = (normal + 1e-12 * Eigen::MatrixXd::Identity(n, n))
                          .ldlt()
                          .solve(Eigen::MatrixXd::Identity(n, n));
  return result;
}

}  // namespace vitsim
