#include "sim/collective/nccl_selection.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "sim/collective/communicator.h"

namespace vitsim {

namespace {

// Indices of NCCL's tables.
constexpr std::size_t kTreeRow = 0;
constexpr std::size_t kRingRow = 1;
constexpr std::size_t kProtocols = 3;  // LL, LL128, Simple

using Table = std::array<std::array<double, kProtocols>, 2>;

// Microseconds: fixed cost of a call, and of one hop over NVLink, PCI, the network.
constexpr Table kBaseLatency = {
    {{6.8, 14.0, 8.4}, {6.6, 14.0, 8.4}}
};
constexpr Table kNvlinkLatency = {
    {{0.6, 1.25, 4.0}, {0.6, 1.9, 3.4}}
};
constexpr Table kPciLatency = {
    {{1.0, 1.9, 4.0}, {1.0, 2.5, 5.7}}
};
constexpr Table kNetLatency = {
    {{5.0, 8.5, 14.0}, {2.7, 4.0, 14.0}}
};

// GB/s by GPU generation and by one, two, or more nodes.
using ByNodes = std::array<double, 3>;
constexpr std::array<ByNodes, 3> kMostLl = {
    {{39, 39, 20.4}, {87.7, 22.5, 19}, {141, 45, 35}}
};
constexpr std::array<ByNodes, 3> kRingLl128PerChannel = {
    {{20, 20, 20}, {20, 20, 20}, {36.7, 36.7, 36.7}}
};
constexpr std::array<ByNodes, 3> kTreeLl128PerChannel = {
    {{20, 20, 20}, {20, 20, 20}, {36.7, 36.7, 29}}
};
constexpr std::array<ByNodes, 3> kTreePerChannel = {
    {{26.5, 18.5, 10}, {24, 23.6, 17.8}, {38.7, 41.4, 36}}
};

// Tree's bandwidth by the logarithm of bytes / 64.
constexpr std::array<std::array<double, 24>, kProtocols> kTreeCorrection = {
    {{1, 1, 1, 1, .9, .8, .7, .7, .7, .7, .6, .5, .4, .4, .5, .6, .7, .8, .9, 1, 1, 1, 1, 1},
     {1, 1, 1, 1, 1, .9, .8, .8, .8, .7, .6, .6, .6, .6, .6, .6, .8, .9, .9, .9, .9, 1, 1, 1},
     {.9, .9, .9, .9, .9, .9, .9, .8, .7, .6, .6, .5,
     .5, .5, .5, .6, .7, .8, .7, .7, .8, .9, .9, .9}}
};

struct Estimate {
  double latency_us = 0;
  double bandwidth_gb_per_s = 0;
};

Estimate ring(const NcclSurroundings& s, std::size_t protocol, std::int64_t bytes) {
  const auto generation = static_cast<std::size_t>(s.generation);
  const std::size_t size_class = s.nodes <= 1 ? 0 : s.nodes == 2 ? 1 : 2;
  const auto n = static_cast<double>(s.ranks);
  const double bus = (s.nodes <= 2 ? s.intra : s.inter).value() / 1e9;
  const auto channels = static_cast<double>(s.channels);
  double bandwidth = bus;
  if (protocol == 0) {
    bandwidth = std::min(kMostLl[generation][size_class], bus * 0.5);
  } else if (protocol == 1) {
    bandwidth = std::min(bus * 0.92, channels * kRingLl128PerChannel[generation][size_class]);
  }
  const double steps = 2 * (n - 1);
  const double between = s.nodes > 1 ? 2 * (static_cast<double>(s.nodes) - 1) : 0;
  const double inside = (s.nvlink ? kNvlinkLatency : kPciLatency)[kRingRow][protocol];
  const std::size_t net_row = s.ranks == s.nodes ? kTreeRow : kRingRow;  // one GPU per node
  double overhead = s.nodes > 1 ? 1 : 0;
  if (protocol == 2) {
    overhead *= 3;
  }
  double latency = kBaseLatency[kRingRow][protocol] +
                   (steps - between) * std::max(inside, overhead) +
                   between * kNetLatency[net_row][protocol];
  if (protocol == 2 && s.nodes > 1 && static_cast<double>(bytes) / (channels * n) >= 64) {
    latency *= s.generation == NcclSurroundings::Generation::kVolta ? 1.9 : 1.4;
  }
  return {.latency_us = latency, .bandwidth_gb_per_s = bandwidth * n / steps};
}

Estimate tree(const NcclSurroundings& s, std::size_t protocol, std::int64_t bytes) {
  const auto generation = static_cast<std::size_t>(s.generation);
  const std::size_t size_class = s.nodes <= 1 ? 0 : s.nodes == 2 ? 1 : 2;
  const double bus = (s.nodes <= 2 ? s.intra : s.inter).value() / 1e9;
  const auto channels = static_cast<double>(s.channels);
  double bandwidth = std::min(bus * 0.92, channels * kTreePerChannel[generation][size_class]);
  if (protocol == 0) {
    bandwidth = std::min(bandwidth / 3.8, kMostLl[generation][size_class]);
  } else if (protocol == 1) {
    bandwidth = std::min(bandwidth * (s.nodes == 1 ? 7.0 / 9.0 : 120.0 / 128.0),
                         channels * kTreeLl128PerChannel[generation][size_class]);
  }
  const auto size_index = std::bit_width(static_cast<std::uint64_t>(bytes) / 64);
  if (size_index > 0 && size_index <= 23) {
    bandwidth *= kTreeCorrection[protocol][static_cast<std::size_t>(size_index) - 1];
  }
  const auto nodes = static_cast<double>(s.nodes);
  const double inside = (s.nvlink ? kNvlinkLatency : kPciLatency)[kTreeRow][protocol];
  const double latency =
      kBaseLatency[kTreeRow][protocol] + 2 * ((static_cast<double>(s.ranks) / nodes - 1) * inside +
                                              std::log2(nodes) * kNetLatency[kTreeRow][protocol]);
  return {.latency_us = latency, .bandwidth_gb_per_s = bandwidth * 0.5};
}

}  // namespace

NcclChoice nccl_choice(const NcclSurroundings& surroundings, std::int64_t bytes) {
  NcclChoice best{.time = Seconds(std::numeric_limits<double>::infinity())};
  for (const std::size_t row : {kTreeRow, kRingRow}) {
    for (std::size_t protocol = 0; protocol < kProtocols; ++protocol) {
      // LL128 needs 128-byte stores that arrive whole: NVLink paths among equal GPUs.
      if (protocol == 1 && !(surroundings.nvlink && surroundings.equal_gpus)) {
        continue;
      }
      const Estimate estimate = row == kTreeRow ? tree(surroundings, protocol, bytes)
                                                : ring(surroundings, protocol, bytes);
      const Seconds time = microseconds(
          estimate.latency_us + static_cast<double>(bytes) / (1000 * estimate.bandwidth_gb_per_s));
      if (time < best.time) {
        best = {.algorithm = row == kTreeRow ? Algorithm::kTree : Algorithm::kRing,
                .protocol = static_cast<NcclProtocol>(protocol),
                .time = time};
      }
    }
  }
  return best;
}

NcclSurroundings nccl_surroundings(const Communicator& group, std::int64_t bytes) {
  constexpr BytesPerSecond kFastestPci(32e9);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  NcclSurroundings found{.ranks = group.size(),
                         .nodes = static_cast<std::int64_t>(group.nodes().size()),
                         .intra = BytesPerSecond(kInfinity),
                         .inter = BytesPerSecond(kInfinity)};
  const std::int64_t message = (bytes + found.ranks - 1) / found.ranks;
  const Hops hops = group.ring_hops();
  for (const Hops::Kind& kind : hops.kinds()) {
    BytesPerSecond& least = kind.is_inside ? found.intra : found.inter;
    least = std::min(least, group.network().links().figures(kind.path, message).bandwidth);
  }
  // One GPU per node: the ring knows no inside; a single node: no outside.
  found.nvlink = found.intra > kFastestPci && std::isfinite(found.intra.value());
  found.intra = std::min(found.intra, found.inter);
  found.inter = std::isfinite(found.inter.value()) ? found.inter : found.intra;
  return found;
}

Algorithm nccl_algorithm(const NcclSurroundings& surroundings, std::int64_t bytes) {
  return surroundings.ranks < 2 ? Algorithm::kRing : nccl_choice(surroundings, bytes).algorithm;
}

}  // namespace vitsim
