#include "sim/collective/hops.h"

#include <algorithm>
#include <map>

namespace vitsim {

Hops::Hops(const Network& network, std::span<const std::int64_t> ranks, std::size_t ring_size)
    : changes_(network.links().changes()) {
  if (ring_size < 2) {
    return;
  }
  const LinkTable& links = network.links();
  std::vector<bool> crossed(links.size());
  std::map<std::vector<std::uint32_t>, std::uint32_t> numbers;  // by the kinds of links on the path
  std::vector<LinkId> path;
  std::vector<std::uint32_t> key;
  std::vector<std::uint32_t> last_key;
  kind_of_.reserve(ranks.size());
  for (std::size_t first = 0; first < ranks.size(); first += ring_size) {
    for (std::size_t i = 0; i < ring_size; ++i) {
      const std::int64_t from = ranks[first + i];
      const std::int64_t to = ranks[first + (i + 1 == ring_size ? 0 : i + 1)];
      path.clear();
      network.append_route(from, to, path);
      const bool is_inside = network.node_of(from) == network.node_of(to);
      key.assign(1, is_inside ? 1 : 0);
      for (const LinkId link : path) {
        alone_ = alone_ && !crossed[link];
        crossed[link] = true;
        key.push_back(links.kind(link));
      }
      if (key == last_key) {
        kind_of_.push_back(kind_of_.back());
        continue;
      }
      last_key = key;
      const auto [found, fresh] =
          numbers.try_emplace(key, static_cast<std::uint32_t>(kinds_.size()));
      if (fresh) {
        kinds_.push_back({.path = path, .is_inside = is_inside});
        for (const LinkId link : path) {
          kinds_.back().is_nic.push_back(network.origin(link).part == LinkOrigin::Part::kNic);
        }
      }
      kind_of_.push_back(found->second);
    }
  }
}

std::vector<Tick> Hops::ticks(const LinkTable& links,
                              std::int64_t bytes,
                              std::size_t copies,
                              std::size_t nics) const {
  std::vector<Tick> by_kind;
  for (const Kind& kind : kinds_) {
    const LinkFigures alone = links.figures(kind.path, bytes);
    double rate = alone.bandwidth.value();
    for (std::size_t i = 0; i < kind.path.size(); ++i) {
      const std::size_t sharing = kind.is_nic[i] ? copies / nics : copies;
      rate = std::min(rate, links[kind.path[i]].bandwidth.value() / static_cast<double>(sharing));
    }
    by_kind.push_back(to_ticks(alone.latency) + transfer_ticks(bytes, BytesPerSecond(rate)));
  }
  std::vector<Tick> ticks(kind_of_.size());
  for (std::size_t hop = 0; hop < ticks.size(); ++hop) {
    ticks[hop] = by_kind[kind_of_[hop]];
  }
  return ticks;
}

}  // namespace vitsim
