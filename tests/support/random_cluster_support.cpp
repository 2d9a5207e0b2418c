#include <numeric>

#include <fmt/format.h>

#include "tests/support/random_cluster.h"

namespace vitsim::testing {

std::int64_t RandomCluster::between(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
}

bool RandomCluster::chance(double probability) {
  return static_cast<double>(random_() >> 11U) * 0x1p-53 < probability;
}

LinkData RandomCluster::link() {
  LinkData link;
  link.bandwidth = BytesPerSecond(chance(0.5) ? static_cast<double>(between(1, 4)) * 1.25e8
                                              : static_cast<double>(between(1, 1 << 30)) * 1.37);
  link.latency = chance(0.2) ? Seconds(0) : microseconds(static_cast<double>(between(1, 100)));
  if (chance(0.2)) {
    // Small messages get half, and come later.
    const LinkData base = link;
    link.curve = std::make_shared<const LinkCurve>([base](std::int64_t bytes) {
      return bytes < 100'000 ? LinkFigures{base.latency * 2.0, base.bandwidth * 0.5}
                             : LinkFigures{base.latency, base.bandwidth};
    });
  }
  return link;
}

NetworkData RandomCluster::cluster(std::int64_t nodes, std::int64_t gpus) {
  NetworkData data;
  const std::int64_t switches = chance(0.5) ? 1 : between(2, 3);
  const bool in_blocks = chance(0.7);
  const bool equal = chance(0.3);
  const LinkData nic = link();
  for (std::int64_t i = 0; i < switches; ++i) {
    data.switches.push_back(fmt::format("switch{}", i));
    if (i > 0) {
      data.trunks.push_back({.a = data.switches[static_cast<std::size_t>(i) - 1],
                             .b = data.switches.back(),
                             .link = link()});
    }
  }
  for (std::int64_t i = 0; i < nodes; ++i) {
    const std::int64_t at = in_blocks ? i * switches / nodes : between(0, switches - 1);
    data.nodes.push_back({.name = fmt::format("node{}", i),
                          .gpus = gpus > 0 ? gpus : between(1, 4),
                          .nic = equal ? nic : link(),
                          .switch_name = data.switches[static_cast<std::size_t>(at)],
                          .intra_node = link()});
  }
  return data;
}

std::vector<Tick> RandomCluster::starts(std::size_t count) {
  std::vector<Tick> starts(count);
  const std::int64_t limit = chance(0.3) ? 0 : between(1, 5'000'000'000);
  for (Tick& start : starts) {
    start = between(0, limit);
  }
  return starts;
}

std::vector<std::int64_t> all_ranks(std::int64_t n) {
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(n));
  std::iota(ranks.begin(), ranks.end(), std::int64_t{0});
  return ranks;
}

NetworkData star(std::int64_t hosts, BytesPerSecond bandwidth, Seconds latency) {
  NetworkData data;
  for (std::int64_t i = 0; i < hosts; ++i) {
    data.nodes.push_back({.name = fmt::format("node{}", i),
                          .nic = LinkData{.latency = latency, .bandwidth = bandwidth},
                          .intra_node = {.bandwidth = BytesPerSecond(1e10)}});
  }
  return data;
}

NetworkData on_two_switches(NetworkData data, BytesPerSecond trunk) {
  data.switches = {"A", "B"};
  data.trunks = {{"A", "B", {.bandwidth = trunk}}};
  for (std::size_t i = 0; i < data.nodes.size(); ++i) {
    data.nodes[i].switch_name = data.switches[i % 2];
  }
  return data;
}

}  // namespace vitsim::testing
