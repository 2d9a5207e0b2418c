// NCCL's cost model.
//
// NCCL chooses an algorithm and a protocol for each call: it expects latency + bytes / bandwidth of
// every pair and takes the least (ncclTopoTuneModel in src/graph/tuning.cc). The latency is a fixed
// cost of the call and what each hop takes, by kind of link and protocol. LL sends a flag with
// every four bytes and so moves twice the bytes, LL128 eight bytes in 128; Simple moves nothing
// more, but each hop waits for a chunk to be complete and costs a synchronisation.
//
// Here the bandwidth is not NCCL's table of nominal figures but what the cluster's links deliver,
// link by link (nccl_loads.h), and the time that NCCL would expect is also the time that the
// simulator takes. So a choice never costs more than its rivals, and time never falls as bytes
// grow: the least of functions that rise is a function that rises.
//
// One table of NCCL falls in steps, Tree's correction by size. It is interpolated between its
// points, for the same reason.
#include "sim/collective/nccl_selection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace vitsim {

namespace {

// Protocols and rows of NCCL's tables.
enum Protocol : std::uint8_t { kLl, kLl128, kSimple };

constexpr std::size_t kProtocols = 3;

enum Row : std::uint8_t { kTreeRow, kRingRow };

using Table = std::array<std::array<double, kProtocols>, 2>;

// Microseconds: the fixed cost of a call, and one hop over NVLink, PCI, the network.
constexpr Table kBaseLatency = {{{6.8, 14.0, 8.4}, {6.6, 14.0, 8.4}}};
constexpr std::array<Table, 3> kHopLatency = {{
    {{{0.6, 1.25, 4.0}, {0.6, 1.9, 3.4}}},
    {{{1.0, 1.9, 4.0}, {1.0, 2.5, 5.7}}},
    {{{5.0, 8.5, 14.0}, {2.7, 4.0, 14.0}}},
}};

// Microseconds of one hop of the algorithms that know Simple alone.
constexpr double kNvlsLatency = 25;
constexpr double kNvlsTreeNetLatency = 20.9;
constexpr double kCollNetHop = 2.8;
constexpr double kCollNetNetLatency = 30;
constexpr double kPatBase = 8;
constexpr double kPatNetLatency = 14;

// GB/s that LL reaches at most, by generation and by one, two, or more nodes.
using ByNodes = std::array<double, 3>;
constexpr std::array<ByNodes, 4> kMostLl = {
    {{39, 39, 20.4}, {87.7, 22.5, 19}, {141, 45, 35}, {282, 90, 70}}};

// Tree's bandwidth by the logarithm of bytes / 64, and 1 beyond.
constexpr std::array<std::array<double, 25>, kProtocols> kTreeCorrection = {
    {{1, 1, 1, 1, .9, .8, .7, .7, .7, .7, .6, .5, .4, .4, .5, .6, .7, .8, .9, 1, 1, 1, 1, 1, 1},
     {1, 1, 1, 1, 1, .9, .8, .8, .8, .7, .6, .6, .6, .6, .6, .6, .8, .9, .9, .9, .9, 1, 1, 1, 1},
     {.9, .9, .9, .9, .9, .9, .9, .8, .7, .6, .6, .5, .5,
      .5, .5, .6, .7, .8, .7, .7, .8, .9, .9, .9, 1}}};

// Shares of the links' bandwidth.
constexpr double kTreeEfficiency = 0.92;
constexpr double kPatEfficiency = 0.75;
constexpr double kPairwiseEfficiency = 0.85;  // 8 A100: 195 GB/s busbw, where rings get 231
constexpr double kNvlsTreeEfficiency = 0.92;  // of the switch: 16 H100 252 GB/s algbw, 8 274

bool is_nccl_ring(Algorithm algorithm) {
  return algorithm >= Algorithm::kNcclRingLl && algorithm <= Algorithm::kNcclRingSimple;
}

bool is_nccl_tree(Algorithm algorithm) {
  return algorithm >= Algorithm::kNcclTreeLl && algorithm <= Algorithm::kNcclTreeSimple;
}

Protocol protocol_of(Algorithm algorithm) {
  const Algorithm first = is_nccl_ring(algorithm) ? Algorithm::kNcclRingLl : Algorithm::kNcclTreeLl;
  return static_cast<Protocol>(static_cast<int>(algorithm) - static_cast<int>(first));
}

double microseconds_of(Seconds duration) {
  return duration.value() * 1e6;
}

/// One hop in microseconds: NCCL's constant, with the link's own latency in the place of what LL
/// takes where that is longer.
double hop_us(LinkKind kind, Row row, Protocol protocol, Seconds latency) {
  const Table& table = kHopLatency[static_cast<std::size_t>(kind)];
  const double least = table[kRingRow][kLl];
  return std::max(microseconds_of(latency), least) + table[row][protocol] - least;
}

double inter_hop_us(const NcclSurroundings& s, Row row, Protocol protocol) {
  return hop_us(LinkKind::kNetwork, row, protocol, s.inter_latency);
}

/// What the network takes beyond NCCL's constant for a small message.
double slow_network_us(const NcclSurroundings& s) {
  return inter_hop_us(s, kRingRow, kLl) - kHopLatency[2][kRingRow][kLl];
}

double most_ll(const NcclSurroundings& s) {
  const auto generation = static_cast<std::size_t>(s.generation);
  const std::size_t row = generation == 0 ? 0 : generation - 1;
  return kMostLl[row][s.nodes <= 1 ? 0 : s.nodes == 2 ? 1 : 2] * 1e9;
}

double ring_wire(const NcclSurroundings& s, Protocol protocol) {
  switch (protocol) {
    case kLl:
      return std::max(2.0, s.ring_bandwidth.value() / most_ll(s));
    case kLl128:
      return 1 / 0.92;
    case kSimple:
      return 1;
  }
  return 1;
}

NcclCost ring_cost(const NcclSurroundings& s, CollectiveKind kind, Protocol protocol) {
  const auto n = static_cast<double>(s.ranks);
  const double rounds = kind == CollectiveKind::kAllReduce ? 2 : 1;
  const double steps = rounds * (n - 1);
  const double between = rounds * static_cast<double>(s.nodes - 1);
  const double overhead_us = s.nodes > 1 ? (protocol == kSimple ? 3 : 1) : 0;
  // With one GPU in each node NCCL takes Tree's figures for the network.
  const Row net_row = s.ranks == s.nodes ? kTreeRow : kRingRow;
  const double inside_us =
      std::max(hop_us(s.intra, kRingRow, protocol, s.intra_latency), overhead_us);
  double latency_us = (steps - between) * inside_us + between * inter_hop_us(s, net_row, protocol);
  if (protocol == kSimple && s.nodes > 1) {
    latency_us *= s.generation <= Accelerator::kVolta ? 1.9 : 1.4;
  }
  const double share = is_chain(kind) ? 1 : steps / n;
  return {.latency = microseconds(kBaseLatency[kRingRow][protocol] + latency_us),
          .wire_factor = share * ring_wire(s, protocol)};
}

double tree_correction(Protocol protocol, std::int64_t bytes) {
  const auto& table = kTreeCorrection[protocol];
  const double place = std::log2(std::max(1.0, static_cast<double>(bytes) / 64));
  const auto below = static_cast<std::size_t>(place);
  if (below + 1 >= table.size()) {
    return table.back();
  }
  return table[below] + (place - std::floor(place)) * (table[below + 1] - table[below]);
}

NcclCost tree_cost(const NcclSurroundings& s, Protocol protocol, std::int64_t bytes) {
  double wire = 1 / kTreeEfficiency;
  if (protocol == kLl) {
    wire = std::max(3.8 / kTreeEfficiency, s.ring_bandwidth.value() / most_ll(s));
  } else if (protocol == kLl128) {
    wire *= s.nodes == 1 ? 9.0 / 7 : 128.0 / 120;
  }
  const double inside_us = hop_us(s.intra, kTreeRow, protocol, s.intra_latency);
  const double latency_us =
      kBaseLatency[kTreeRow][protocol] +
      2 * (static_cast<double>(s.ranks_per_node - 1) * inside_us +
           std::log2(static_cast<double>(s.nodes)) * inter_hop_us(s, kTreeRow, protocol));
  return {.latency = microseconds(latency_us),
          .wire_factor = wire / tree_correction(protocol, bytes)};
}

std::optional<NcclCost> nvls_cost(const NcclSurroundings& s, CollectiveKind kind) {
  if (s.switch_bandwidth.value() <= 0 || s.nodes > 1) {
    return std::nullopt;
  }
  // A reduce-scatter or an all-gather is half of an AllReduce.
  const double share = kind == CollectiveKind::kAllReduce ? 1 : 0.5;
  return NcclCost{.latency = microseconds(kNvlsLatency),
                  .wire_factor = share * (s.ring_bandwidth / s.switch_bandwidth)};
}

std::optional<NcclCost> nvls_tree_cost(const NcclSurroundings& s) {
  if (s.switch_bandwidth.value() <= 0 || s.nodes < 2 || s.ranks_per_node < 2) {
    return std::nullopt;
  }
  const double hops = 2 * std::log2(static_cast<double>(s.nodes));
  return NcclCost{
      .latency = microseconds(kNvlsLatency + hops * (kNvlsTreeNetLatency + slow_network_us(s))),
      .wire_factor = 1};
}

std::optional<NcclCost> collnet_cost(const NcclSurroundings& s) {
  if (!s.network_reduces || s.nodes < 2) {
    return std::nullopt;
  }
  const double inside_us = std::max(microseconds_of(s.intra_latency), kCollNetHop);
  return NcclCost{.latency =
                      microseconds(2 * static_cast<double>(s.ranks_per_node - 1) * inside_us +
                                   kCollNetNetLatency + slow_network_us(s))};
}

std::optional<NcclCost> pat_cost(const NcclSurroundings& s, CollectiveKind kind) {
  if (s.ranks != s.nodes) {
    return std::nullopt;
  }
  const auto n = static_cast<double>(s.ranks);
  const double rounds = kind == CollectiveKind::kAllReduce ? 2 : 1;
  const double hop = kPatNetLatency + slow_network_us(s);
  return NcclCost{.latency = microseconds(rounds * (kPatBase + std::ceil(std::log2(n)) * hop)),
                  .wire_factor = rounds * (n - 1) / n / kPatEfficiency};
}

NcclCost pairwise_cost(const NcclSurroundings& s) {
  const double inside_us = hop_us(s.intra, kRingRow, kSimple, s.intra_latency);
  const double outside_us = s.nodes > 1 ? inter_hop_us(s, kRingRow, kSimple) : 0;
  // Peers follow one another in a kernel; those outside share the network's latency.
  const double each_us = s.ranks_per_node > 1 ? inside_us : kHopLatency[1][kRingRow][kSimple];
  return {.latency = microseconds(kBaseLatency[kRingRow][kSimple] +
                                  static_cast<double>(s.ranks - 1) * each_us + outside_us),
          .wire_factor = 1 / kPairwiseEfficiency};
}

}  // namespace

std::optional<NcclCost> nccl_cost(const NcclSurroundings& s,
                                  CollectiveKind kind,
                                  Algorithm algorithm,
                                  std::int64_t bytes) {
  const bool is_all_reduce = kind == CollectiveKind::kAllReduce;
  const bool is_part = kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllGather;
  if (kind == CollectiveKind::kAllToAll) {
    return algorithm == Algorithm::kNcclPairwise ? std::optional(pairwise_cost(s)) : std::nullopt;
  }
  if (is_nccl_ring(algorithm) || is_nccl_tree(algorithm)) {
    const Protocol protocol = protocol_of(algorithm);
    // LL128 needs 128-byte stores that arrive whole: NVLink paths among equal GPUs.
    const bool has_nvlink = s.intra == LinkKind::kNvlink && s.ranks_per_node > 1;
    if (protocol == kLl128 && !(has_nvlink && s.equal_gpus)) {
      return std::nullopt;
    }
    if (is_nccl_ring(algorithm)) {
      return ring_cost(s, kind, protocol);
    }
    return is_all_reduce ? std::optional(tree_cost(s, protocol, bytes)) : std::nullopt;
  }
  switch (algorithm) {
    case Algorithm::kNvls:
      return is_all_reduce || is_part ? nvls_cost(s, kind) : std::nullopt;
    case Algorithm::kNvlsTree:
      return is_all_reduce ? nvls_tree_cost(s) : std::nullopt;
    case Algorithm::kCollNet:
      return is_all_reduce ? collnet_cost(s) : std::nullopt;
    case Algorithm::kPat:
      return is_all_reduce || is_part ? pat_cost(s, kind) : std::nullopt;
    default:
      return std::nullopt;
  }
}

namespace {

/// What was measured over the NICs of all nodes, or inside the only one; nothing where they differ.
std::shared_ptr<const MeasuredCollectives> measured_over(const NcclGroup& group) {
  const LinkTable& links = group.network.links();
  std::shared_ptr<const MeasuredCollectives> found;
  std::vector<LinkId> path;
  for (std::size_t m = 0; m < group.nodes.size(); ++m) {
    path.clear();
    const std::vector<std::uint32_t>& node = group.nodes[m];
    const std::uint32_t next =
        group.nodes.size() > 1 ? group.nodes[(m + 1) % group.nodes.size()].front() : node.back();
    group.network.append_route(group.ranks[node.front()], group.ranks[next], path);
    for (const LinkId link : path) {
      const auto& here = links[link].traits.collectives;
      if (here == nullptr || (found != nullptr && found->name != here->name)) {
        return nullptr;
      }
      found = here;
    }
  }
  return found;
}

}  // namespace

NcclModel::NcclModel(const NcclGroup& group) {
  const Network& network = group.network;
  const LinkTable& links = network.links();
  NcclSurroundings& s = surroundings_;
  s.ranks = static_cast<std::int64_t>(group.ranks.size());
  s.nodes = static_cast<std::int64_t>(group.nodes.size());
  constexpr double kFastestPci = 64e9;  // B/s: PCIe 5.0 x16 on the wire
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double switch_bandwidth = kInfinity;
  bool has_nvlink = true;
  s.network_reduces = true;
  std::optional<Accelerator> oldest;
  for (const std::vector<std::uint32_t>& node : group.nodes) {
    s.ranks_per_node = std::max(s.ranks_per_node, static_cast<std::int64_t>(node.size()));
    const Accelerator here = network.accelerator_of(network.node_of(group.ranks[node.front()]));
    is_between_cpus_ = is_between_cpus_ || here == Accelerator::kCpu;
    s.equal_gpus = s.equal_gpus && (!oldest || *oldest == here);
    oldest = oldest ? std::min(*oldest, here) : here;
    if (node.size() < 2) {
      switch_bandwidth = 0;
      continue;
    }
    const LinkData& port = links[network.ports_of(group.ranks[node.front()])->first];
    s.intra_latency = std::max(s.intra_latency, port.latency);
    const LinkKind kind = port.traits.kind.value_or(
        port.bandwidth.value() > kFastestPci ? LinkKind::kNvlink : LinkKind::kPcie);
    has_nvlink = has_nvlink && kind == LinkKind::kNvlink;
    switch_bandwidth = std::min(
        switch_bandwidth, port.traits.switch_reduces ? port.traits.switch_bandwidth.value() : 0.0);
  }
  s.generation = oldest.value_or(Accelerator::kAmpere);
  s.intra = has_nvlink && s.ranks_per_node > 1 ? LinkKind::kNvlink : LinkKind::kPcie;
  s.switch_bandwidth = BytesPerSecond(std::isfinite(switch_bandwidth) ? switch_bandwidth : 0);

  std::vector<LinkId> path;
  for (std::size_t m = 0; m < group.nodes.size() && group.nodes.size() > 1; ++m) {
    path.clear();
    network.append_route(group.ranks[group.nodes[m].front()],
                         group.ranks[group.nodes[(m + 1) % group.nodes.size()].front()],
                         path);
    s.inter_latency = std::max(s.inter_latency, links.figures(path, 0).latency);
    for (const LinkId link : path) {
      s.network_reduces = s.network_reduces && links[link].traits.switch_reduces;
    }
  }
  std::vector<LinkLoad> ring = ring_loads(group);
  double slowest = 0;  // seconds by byte
  for (const LinkLoad& load : ring) {
    is_measured_ = is_measured_ || links[load.link].traits.is_measured;
    slowest = std::max(slowest, load.share / links[load.link].bandwidth.value());
  }
  s.ring_bandwidth = BytesPerSecond(slowest > 0 ? 1 / slowest : 1);
  const auto loaded = [&](std::vector<LinkLoad> loads) {
    return std::make_shared<const LoadedLinks>(links, std::move(loads));
  };
  measured_ = measured_over(group);
  idle_ = loaded({});
  ring_ = loaded(std::move(ring));
  if (!applies()) {
    return;
  }
  tree_ = loaded(tree_loads(group));
  if (s.switch_bandwidth.value() > 0 && s.nodes > 1) {
    // The switch takes its time at every port, as a ring's bytes do.
    std::vector<LinkLoad> both = tree_loads_between_nodes(group);
    for (const std::int64_t rank : group.ranks) {
      const auto ports = network.ports_of(rank);
      const double share = links[ports->first].bandwidth / s.switch_bandwidth / kNvlsTreeEfficiency;
      both.push_back({.link = ports->first, .share = share});
      both.push_back({.link = ports->second, .share = share});
    }
    tree_between_ = loaded(std::move(both));
  }
  if (s.network_reduces && s.nodes > 1) {
    collnet_ = loaded(collnet_loads(group));
  }
  pairwise_ = loaded(pairwise_loads(group));
}

const std::shared_ptr<const LoadedLinks>& NcclModel::links_of(Algorithm algorithm) const {
  switch (algorithm) {
    case Algorithm::kNvlsTree:
      return tree_between_;
    case Algorithm::kCollNet:
      return collnet_;
    case Algorithm::kNcclPairwise:
      return pairwise_;
    default:
      return is_nccl_tree(algorithm) ? tree_ : ring_;
  }
}

std::optional<NcclCall> NcclModel::call(CollectiveKind kind,
                                        Algorithm algorithm,
                                        std::int64_t bytes) const {
  if (algorithm == Algorithm::kMeasured) {
    return measured_call(kind, bytes);
  }
  const auto cost = applies() ? nccl_cost(surroundings_, kind, algorithm, bytes) : std::nullopt;
  if (!cost) {
    return std::nullopt;
  }
  NcclCall call{.links = links_of(algorithm),
                .wire_bytes = static_cast<double>(bytes) * cost->wire_factor};
  // The last hop's latency is the loaded link's own.
  call.fixed = std::max<Tick>(0, to_ticks(cost->latency) - call.links->latency());
  return call;
}

bool NcclModel::has_table(CollectiveKind kind) const {
  return measured_ != nullptr && measured_->time(name(kind), surroundings_.ranks, 1).has_value();
}

/// The links carry what a ring would send, as far as it fits into the measured time.
std::optional<NcclCall> NcclModel::measured_call(CollectiveKind kind, std::int64_t bytes) const {
  const auto time =
      measured_ == nullptr ? std::nullopt : measured_->time(name(kind), surroundings_.ranks, bytes);
  if (!time) {
    return std::nullopt;
  }
  const Tick whole = to_ticks(*time);
  const auto n = static_cast<double>(surroundings_.ranks);
  const double rounds = kind == CollectiveKind::kAllReduce ? 2 : 1;
  NcclCall call{.links = ring_, .wire_bytes = static_cast<double>(bytes) * rounds * (n - 1) / n};
  for (Tick on_links = ring_->slowest(call.wire_bytes); on_links > whole;
       on_links = ring_->slowest(call.wire_bytes)) {
    const Tick room = whole - ring_->latency();
    if (room <= 0 || call.wire_bytes < 1) {
      call.links = idle_;
      call.wire_bytes = 0;
      break;
    }
    call.wire_bytes *= 0.999 * static_cast<double>(room) / static_cast<double>(on_links);
  }
  call.fixed = whole - call.links->slowest(call.wire_bytes);
  return call;
}

Algorithm NcclModel::choose(CollectiveKind kind, std::int64_t bytes) const {
  if (kind == CollectiveKind::kAllToAll) {
    return Algorithm::kNcclPairwise;
  }
  // CollNet is off unless a user turns it on.
  static constexpr std::array<Algorithm, 9> kCandidates = {Algorithm::kNcclRingSimple,
                                                           Algorithm::kNcclRingLl128,
                                                           Algorithm::kNcclRingLl,
                                                           Algorithm::kNcclTreeSimple,
                                                           Algorithm::kNcclTreeLl128,
                                                           Algorithm::kNcclTreeLl,
                                                           Algorithm::kNvls,
                                                           Algorithm::kNvlsTree,
                                                           Algorithm::kPat};
  Algorithm best = Algorithm::kNcclRingSimple;
  Tick least = std::numeric_limits<Tick>::max();
  for (const Algorithm candidate : kCandidates) {
    if (candidate == Algorithm::kPat && kind == CollectiveKind::kAllReduce) {
      continue;
    }
    if (const auto found = call(kind, candidate, bytes); found && found->duration() < least) {
      least = found->duration();
      best = candidate;
    }
  }
  return best;
}

}  // namespace vitsim
