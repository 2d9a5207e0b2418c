#include "sim/run/events.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

RunEvents::RunEvents(const Network& network, std::span<const RunEvent> events) : network_(network) {
  std::vector<std::string> problems;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const RunEvent& event = events[i];
    if (!(event.from.value() >= 0) || !(event.to > event.from)) {
      problems.push_back(fmt::format("event {}: it must end after it begins", i));
      continue;
    }
    const Tick from = to_ticks(event.from);
    const Tick to = to_ticks(event.to);
    if (event.what == RunEvent::What::kLink) {
      if (!(event.bandwidth.value() > 0 && std::isfinite(event.bandwidth.value()))) {
        problems.push_back(fmt::format("event {}: bandwidth must be positive and finite", i));
      }
      for (const LinkId link : event.links) {
        links_.push_back({.link = link, .bandwidth = event.bandwidth, .from = from, .to = to});
      }
      continue;
    }
    if (event.rank < 0 || event.rank >= network.world_size()) {
      problems.push_back(
          fmt::format("event {}: rank {} is not one of {}", i, event.rank, network.world_size()));
    }
    if (event.what == RunEvent::What::kSlowdown &&
        !(event.factor > 0 && std::isfinite(event.factor))) {
      problems.push_back(fmt::format("event {}: the factor must be positive and finite", i));
    }
    compute_.push_back({.rank = event.rank,
                        .factor = event.what == RunEvent::What::kPause
                                      ? std::numeric_limits<double>::infinity()
                                      : event.factor,
                        .from = from,
                        .to = to});
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

std::vector<SlowInterval> RunEvents::slow_intervals(std::int64_t rank, Int128 origin) const {
  std::vector<SlowInterval> intervals;
  for (const Compute& event : compute_) {
    if (event.rank == rank && event.to > origin) {
      intervals.push_back({.from = static_cast<Tick>(std::max<Int128>(0, event.from - origin)),
                           .to = static_cast<Tick>(event.to - origin),
                           .factor = event.factor});
    }
  }
  return intervals;
}

BytesPerSecond RunEvents::bandwidth_at(LinkId link, Int128 time) const {
  BytesPerSecond bandwidth = network_.links()[link].bandwidth;
  Tick latest = -1;
  for (const Link& event : links_) {
    if (event.link == link && event.from <= time && time < event.to && event.from >= latest) {
      latest = event.from;
      bandwidth = event.bandwidth;
    }
  }
  return bandwidth;
}

std::vector<LinkChange> RunEvents::link_changes(Int128 origin) const {
  std::vector<LinkChange> changes;
  for (const Link& event : links_) {
    for (const Tick edge : {event.from, event.to}) {
      if (edge > origin) {
        changes.push_back({.at = static_cast<Tick>(edge - origin),
                           .link = event.link,
                           .bandwidth = bandwidth_at(event.link, edge)});
      }
    }
  }
  std::stable_sort(changes.begin(), changes.end(), [](const LinkChange& a, const LinkChange& b) {
    return a.at < b.at;
  });
  return changes;
}

Network RunEvents::network_at(Int128 origin) const {
  Network network = network_;
  for (const Link& event : links_) {
    network.set_bandwidth(event.link, bandwidth_at(event.link, origin));
  }
  return network;
}

bool RunEvents::touches(Int128 from, Int128 to) const {
  const auto overlaps = [&](const auto& event) { return event.from <= to && event.to > from; };
  return std::any_of(compute_.begin(), compute_.end(), overlaps) ||
         std::any_of(links_.begin(), links_.end(), overlaps);
}

std::vector<Tick> RunEvents::edges(Int128 origin) const {
  std::vector<Tick> edges;
  const auto add = [&](const auto& event) {
    for (const Tick edge : {event.from, event.to}) {
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
