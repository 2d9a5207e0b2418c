// The slowest of N log-normal ranks.
//
// With X_i = exp(mu_i + sigma_i Z_i) the logarithm of the maximum has the distribution function
// F(t) = prod_i Phi((t - mu_i) / sigma_i), and for any smooth g
//
//   E g(max) = g(t1) - integral from t0 to t1 of F(t) g'(t) dt,      F(t0) = 0, F(t1) = 1.
//
// g = exp gives the mean, exp(2t) the second moment. The probability that rank i is the last is the
// integral of its density times the others' F. Ranks that cannot be last (six sigma below
// somebody's least) are left out; equal ones share one factor's power. Gauss and Legendre's rule
// runs between break points at each rank's mu +- {0, 2.5, 6} sigma, so that narrow and wide ranks
// mix well.
#include "sim/sample/straggler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numbers>

#include "models/distribution.h"

namespace vitsim {

namespace {

constexpr double kFar = 6;

// Nodes and weights on [-1, 1].
constexpr std::array<double, 5> kAbscissas = {0.1488743389816312,
                                              0.4333953941292472,
                                              0.6794095682990244,
                                              0.8650633666889845,
                                              0.9739065285171717};
constexpr std::array<double, 5> kWeights = {0.2955242247147529,
                                            0.2692667193099963,
                                            0.2190863625159820,
                                            0.1494513491505806,
                                            0.0666713443086881};

struct Kind {
  double mu = 0;
  double sigma = 0;
  double count = 0;
};

double density(double z) {
  return std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
}

SlowestOf constant_loads(std::span<const RankLoad> loads, bool with_shares) {
  SlowestOf result;
  for (const RankLoad& load : loads) {
    result.mean_s = std::max(result.mean_s, load.seconds);
  }
  if (with_shares) {
    const auto last = [&](const RankLoad& load) { return load.seconds == result.mean_s; };
    double ties = 0;
    for (const RankLoad& load : loads) {
      ties += last(load) ? load.count : 0;
    }
    for (const RankLoad& load : loads) {
      result.late_share.push_back(last(load) ? load.count / ties : 0);
    }
  }
  return result;
}

std::vector<double> break_points(const std::vector<Kind>& kinds, double low, double high) {
  std::vector<double> points = {low, high};
  // Many different ranks fill the range by themselves.
  constexpr std::size_t kFew = 12;
  if (kinds.size() <= kFew) {
    for (const Kind& kind : kinds) {
      for (const double away : {-kFar, -2.5, 0.0, 2.5, kFar}) {
        const double point = kind.mu + away * kind.sigma;
        if (point > low && point < high) {
          points.push_back(point);
        }
      }
    }
  } else {
    constexpr int kPieces = 24;
    for (int piece = 1; piece < kPieces; ++piece) {
      points.push_back(low + (high - low) * piece / kPieces);
    }
  }
  std::ranges::sort(points);
  return points;
}

}  // namespace

SlowestOf slowest_of(std::span<const RankLoad> loads, bool with_shares) {
  const bool constant = std::ranges::all_of(
      loads, [](const RankLoad& load) { return load.sigma == 0 || load.seconds == 0; });
  if (constant) {
    return constant_loads(loads, with_shares);
  }
  const auto mu_of = [](const RankLoad& load) {
    return std::log(load.seconds) - load.sigma * load.sigma / 2;
  };
  double low = -std::numeric_limits<double>::infinity();
  for (const RankLoad& load : loads) {
    if (load.seconds > 0) {
      low = std::max(low, mu_of(load) - kFar * load.sigma);
    }
  }
  std::map<std::pair<double, double>, std::size_t> index;
  std::vector<Kind> kinds;
  std::vector<std::size_t> kind_of(loads.size(), SIZE_MAX);
  double high = low;
  for (std::size_t rank = 0; rank < loads.size(); ++rank) {
    const RankLoad& load = loads[rank];
    if (load.seconds <= 0 || mu_of(load) + kFar * load.sigma < low) {
      continue;
    }
    const auto [entry, fresh] = index.try_emplace({mu_of(load), load.sigma}, kinds.size());
    if (fresh) {
      kinds.push_back({entry->first.first, load.sigma, 0});
    }
    kinds[entry->second].count += load.count;
    kind_of[rank] = entry->second;
    high = std::max(high, mu_of(load) + kFar * load.sigma);
  }

  std::vector<double> share(kinds.size());
  std::vector<double> cdf(kinds.size());
  double first_moment = 0;
  double second_moment = 0;
  const auto visit = [&](double t, double weight) {
    double all = 1;
    for (std::size_t k = 0; k < kinds.size(); ++k) {
      cdf[k] = kinds[k].sigma > 0 ? normal_cdf((t - kinds[k].mu) / kinds[k].sigma)
                                  : (t >= kinds[k].mu ? 1.0 : 0.0);
      all *= kinds[k].count == 1 ? cdf[k] : std::pow(cdf[k], kinds[k].count);
    }
    first_moment += weight * all * std::exp(t);
    second_moment += weight * all * 2 * std::exp(2 * t);
    if (!with_shares) {
      return;
    }
    for (std::size_t k = 0; k < kinds.size(); ++k) {
      if (kinds[k].sigma > 0 && cdf[k] > 0) {
        share[k] +=
            weight * density((t - kinds[k].mu) / kinds[k].sigma) / kinds[k].sigma * all / cdf[k];
      }
    }
  };
  const std::vector<double> points = break_points(kinds, low, high);
  for (std::size_t i = 1; i < points.size(); ++i) {
    const double half = (points[i] - points[i - 1]) / 2;
    const double middle = (points[i] + points[i - 1]) / 2;
    if (half <= 0) {
      continue;
    }
    for (std::size_t node = 0; node < kAbscissas.size(); ++node) {
      visit(middle - half * kAbscissas[node], half * kWeights[node]);
      visit(middle + half * kAbscissas[node], half * kWeights[node]);
    }
  }
  SlowestOf result;
  result.mean_s = std::exp(high) - first_moment;
  const double second = std::exp(2 * high) - second_moment;
  result.sigma_s = std::sqrt(std::max(0.0, second - result.mean_s * result.mean_s));
  if (with_shares) {
    double total = 0;
    double steady = 0;  // ranks without noise share what is left
    for (std::size_t k = 0; k < kinds.size(); ++k) {
      total += kinds[k].count * share[k];
      steady += kinds[k].sigma == 0 ? kinds[k].count : 0;
    }
    for (std::size_t rank = 0; rank < loads.size(); ++rank) {
      const std::size_t k = kind_of[rank];
      const double of_one = k == SIZE_MAX        ? 0
                            : kinds[k].sigma > 0 ? share[k] / (steady > 0 ? 1 : total)
                                                 : std::max(0.0, 1 - total) / steady;
      result.late_share.push_back(loads[rank].count * of_one);
    }
  }
  return result;
}

}  // namespace vitsim
