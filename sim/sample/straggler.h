#pragma once

#include <span>
#include <vector>

namespace vitsim {

/// One rank's compute from one AllReduce to the next: log-normal from step to step with mean
/// `seconds` and `sigma` of the logarithm.
/// `count` ranks may share one entry.
struct RankLoad {
  double seconds = 0;
  double sigma = 0;
  double count = 1;
};

/// The slowest of all ranks, step after step.
struct SlowestOf {
  double mean_s = 0;
  double sigma_s = 0;  // from step to step
  /// By entry: share of steps in which one of its ranks is the slowest, ties split.
  std::vector<double> late_share;
};

/// Distribution of max over ranks of their loads, by integrating the product of their distribution
/// functions: exact where drawing step by step would only sample. Shares only `with_shares`.
SlowestOf slowest_of(std::span<const RankLoad> loads, bool with_shares);

}  // namespace vitsim
