#include "sim/run/disturbances.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

Disturbances::Disturbances(const Network& network, std::span<const Disturbance> disturbances)
    : network_(network) {
  std::vector<std::string> problems;
  for (std::size_t i = 0; i < disturbances.size(); ++i) {
    const Disturbance& disturbance = disturbances[i];
    if (!(disturbance.from.value() >= 0) || !(disturbance.to > disturbance.from)) {
      problems.push_back(fmt::format("disturbance {}: it must end after it begins", i));
      continue;
    }
    const Tick from = to_ticks(disturbance.from);
    const Tick to = to_ticks(disturbance.to);
    if (disturbance.what == Disturbance::What::kLink) {
      if (!(disturbance.bandwidth.value() > 0 && std::isfinite(disturbance.bandwidth.value()))) {
        problems.push_back(fmt::format("disturbance {}: bandwidth must be positive and finite", i));
      }
      for (const LinkId link : disturbance.links) {
        links_.push_back(
            {.link = link, .bandwidth = disturbance.bandwidth, .from = from, .to = to});
      }
      continue;
    }
    if (disturbance.rank < 0 || disturbance.rank >= network.world_size()) {
      problems.push_back(fmt::format(
          "disturbance {}: rank {} is not one of {}", i, disturbance.rank, network.world_size()));
    }
    if (disturbance.what == Disturbance::What::kSlowdown &&
        !(disturbance.factor > 0 && std::isfinite(disturbance.factor))) {
      problems.push_back(fmt::format("disturbance {}: the factor must be positive and finite", i));
    }
    compute_.push_back({.rank = disturbance.rank,
                        .factor = disturbance.what == Disturbance::What::kPause
                                      ? std::numeric_limits<double>::infinity()
                                      : disturbance.factor,
                        .from = from,
                        .to = to});
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

std::vector<SlowInterval> Disturbances::slow_intervals(std::int64_t rank, Int128 origin) const {
  std::vector<SlowInterval> intervals;
  for (const Compute& disturbance : compute_) {
    if (disturbance.rank == rank && disturbance.to > origin) {
      intervals.push_back(
          {.from = static_cast<Tick>(std::max<Int128>(0, disturbance.from - origin)),
           .to = static_cast<Tick>(disturbance.to - origin),
           .factor = disturbance.factor});
    }
  }
  return intervals;
}

BytesPerSecond Disturbances::bandwidth_at(LinkId link, Int128 time) const {
  BytesPerSecond bandwidth = network_.links()[link].bandwidth;
  Tick latest = -1;
  for (const Link& disturbance : links_) {
    if (disturbance.link == link && disturbance.from <= time && time < disturbance.to &&
        disturbance.from >= latest) {
      latest = disturbance.from;
      bandwidth = disturbance.bandwidth;
    }
  }
  return bandwidth;
}

std::vector<LinkChange> Disturbances::link_changes(Int128 origin) const {
  std::vector<LinkChange> changes;
  for (const Link& disturbance : links_) {
    for (const Tick edge : {disturbance.from, disturbance.to}) {
      if (edge > origin) {
        changes.push_back({.at = static_cast<Tick>(edge - origin),
                           .link = disturbance.link,
                           .bandwidth = bandwidth_at(disturbance.link, edge)});
      }
    }
  }
  std::stable_sort(changes.begin(), changes.end(), [](const LinkChange& a, const LinkChange& b) {
    return a.at < b.at;
  });
  return changes;
}

Network Disturbances::network_at(Int128 origin) const {
  Network network = network_;
  for (const Link& disturbance : links_) {
    network.set_bandwidth(disturbance.link, bandwidth_at(disturbance.link, origin));
  }
  return network;
}

bool Disturbances::touches(Int128 from, Int128 to) const {
  const auto overlaps = [&](const auto& disturbance) {
    return disturbance.from <= to && disturbance.to > from;
  };
  return std::any_of(compute_.begin(), compute_.end(), overlaps) ||
         std::any_of(links_.begin(), links_.end(), overlaps);
}

std::vector<Tick> Disturbances::edges(Int128 origin) const {
  std::vector<Tick> edges;
  const auto add = [&](const auto& disturbance) {
    for (const Tick edge : {disturbance.from, disturbance.to}) {
      if (edge > origin) {
        edges.push_back(static_cast<Tick>(edge - origin));
      }
    }
  };
  std::for_each(compute_.begin(), compute_.end(), add);
  std::for_each(links_.begin(), links_.end(), add);
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

}  // namespace vitsim
