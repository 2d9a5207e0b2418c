#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim::testing {

/// Clusters and starts for property tests, by seed.
class RandomCluster {
 public:
  explicit RandomCluster(std::uint64_t seed) : random_(seed) {}

  std::int64_t between(std::int64_t low, std::int64_t high);

  bool chance(double probability);

  /// Bandwidths from a few kinds or all different, whole numbers or not; latencies likewise.
  LinkData link();

  /// Machines on one switch, or on several joined in a line with trunks; 1 to 4 GPUs each, or
  /// `gpus` each.
  NetworkData cluster(std::int64_t nodes, std::int64_t gpus = 0);

  /// Picoseconds between 0 and a random limit, often all equal.
  std::vector<Tick> starts(std::size_t count);

  std::mt19937_64& engine() { return random_; }

 private:
  std::mt19937_64 random_;
};

/// 0, 1, ..., n-1.
std::vector<std::int64_t> all_ranks(std::int64_t n);

/// `hosts` machines with one GPU each on one switch.
NetworkData star(std::int64_t hosts, BytesPerSecond bandwidth, Seconds latency);

/// The same machines by turns on two switches, which a trunk joins.
NetworkData on_two_switches(NetworkData data, BytesPerSecond trunk);

}  // namespace vitsim::testing
