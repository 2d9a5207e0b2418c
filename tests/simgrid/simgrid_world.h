#pragma once

#include <cstdint>
#include <vector>

#include "sim/engine/network.h"

namespace vitsim::testing {

/// Ranks that, again and again, compute and then run one ring AllReduce.
struct WorldRing {
  std::vector<std::int64_t> ranks;
  std::int64_t bytes = 0;
  std::vector<std::vector<double>> compute_s;  // by position and iteration
};

struct WorldFlow {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t bytes = 0;
  double start_s = 0;
};

struct WorldEnds {
  std::vector<std::vector<double>> rings_s;  // by ring and position
  std::vector<double> flows_s;
};

/// Runs rings and flows on SimGrid's CM02 model without cross-traffic, over the links of `network`.
/// SimGrid allows one simulation per process, so each runs in a child.
WorldEnds run_in_simgrid(const Network& network,
                         const std::vector<WorldRing>& rings,
                         const std::vector<WorldFlow>& flows);

}  // namespace vitsim::testing
