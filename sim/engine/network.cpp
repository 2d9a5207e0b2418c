#include "sim/engine/network.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::int64_t kMostNics = 1024;

void check_bandwidth(BytesPerSecond bandwidth, const std::string& name) {
  if (!(bandwidth.value() > 0 && std::isfinite(bandwidth.value()))) {
    throw UserError(fmt::format(
        "{}: bandwidth must be positive and finite, not {} B/s", name, bandwidth.value()));
  }
}

/// Collects what a step of the construction complains about instead of stopping at the first.
template <typename Step>
void collect(std::vector<std::string>& problems, const Step& step) {
  try {
    step();
  } catch (const UserError& error) {
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
  }
}

}  // namespace

LinkFigures LinkData::at(std::int64_t message_bytes) const {
  if (curve == nullptr) {
    return {latency, bandwidth};
  }
  const LinkFigures figures = (*curve)(message_bytes);
  return {figures.latency, std::min(figures.bandwidth, bandwidth)};
}

LinkId LinkTable::add(const LinkData& link, const std::string& name) {
  check_bandwidth(link.bandwidth, name);
  if (!(link.latency.value() >= 0 && std::isfinite(link.latency.value()))) {
    throw UserError(fmt::format(
        "{}: latency must be finite and not negative, not {} s", name, link.latency.value()));
  }
  if (size() >= std::numeric_limits<LinkId>::max()) {
    throw UserError("the cluster has more links than the simulator can number");
  }
  kind_of_.push_back(find_kind(link));
  return static_cast<LinkId>(size() - 1);
}

std::uint32_t LinkTable::find_kind(const LinkData& link) {
  const Key key{link.latency.value(), link.bandwidth.value(), link.curve.get()};
  const auto [found, fresh] =
      kind_numbers_.try_emplace(key, static_cast<std::uint32_t>(kinds_.size()));
  if (fresh) {
    kinds_.push_back(link);
  }
  return found->second;
}

void LinkTable::set_bandwidth(LinkId id, BytesPerSecond bandwidth) {
  check_bandwidth(bandwidth, "link event");
  LinkData changed = (*this)[id];
  changed.bandwidth = bandwidth;
  kind_of_[id] = find_kind(changed);
  ++changes_;
}

LinkFigures LinkTable::figures(std::span<const LinkId> path, std::int64_t message_bytes) const {
  LinkFigures sum{Seconds(0), BytesPerSecond(std::numeric_limits<double>::infinity())};
  for (const LinkId id : path) {
    const LinkFigures link = (*this)[id].at(message_bytes);
    sum.latency += link.latency;
    sum.bandwidth = std::min(sum.bandwidth, link.bandwidth);
  }
  return sum;
}

Network::Network(const NetworkData& data) {
  std::vector<std::string> problems;
  const std::vector<std::string> switches =
      data.switches.empty() ? std::vector<std::string>{"switch"} : data.switches;
  switch_edges_.resize(switches.size());
  Names names;
  const auto declare = [&](const std::string& name, Vertex vertex) {
    if (!names.emplace(name, vertex).second) {
      problems.push_back(fmt::format("the name \"{}\" stands for two things", name));
    }
  };
  for (std::size_t i = 0; i < switches.size(); ++i) {
    declare(switches[i], {.is_switch = true, .index = i});
  }
  for (std::size_t i = 0; i < data.nodes.size(); ++i) {
    declare(data.nodes[i].name, {.is_switch = false, .index = i});
  }
  gpu_base_.push_back(0);
  CurvesWithoutLatency curves;
  for (const NodeData& node : data.nodes) {
    collect(problems, [&] { add_node(node, names, switches.front(), curves); });
    gpu_base_.push_back(gpu_base_.back() + std::max<std::int64_t>(node.gpus, 0));
  }
  for (std::size_t i = 0; i < data.trunks.size(); ++i) {
    if (problems.empty()) {
      collect(problems, [&] { add_trunk(data.trunks[i], i, names); });
    }
  }
  if (world_size() == 0) {
    problems.emplace_back("the cluster has no GPU");
  }
  if (problems.empty()) {
    check_connected(problems);
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
  node_of_.reserve(static_cast<std::size_t>(world_size()));
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    node_of_.insert(node_of_.end(), static_cast<std::size_t>(data.nodes[node].gpus), node);
  }
}

LinkId Network::add_link(const LinkData& link, const std::string& name, LinkOrigin origin) {
  const LinkId id = links_.add(link, name);
  origins_.push_back(origin);
  return id;
}

void Network::add_node(const NodeData& node,
                       const Names& names,
                       const std::string& first_switch,
                       CurvesWithoutLatency& curves) {
  if (node.gpus < 0) {
    throw UserError(fmt::format("node \"{}\": {} GPUs", node.name, node.gpus));
  }
  if (node.nics < 1 || node.nics > kMostNics) {
    throw UserError(fmt::format(
        "node \"{}\": {} NICs, where 1 to {} are possible", node.name, node.nics, kMostNics));
  }
  Node built{.name = node.name,
             .nics = static_cast<std::uint32_t>(node.nics),
             .has_nic = node.nic.has_value(),
             .accelerator = node.accelerator};
  if (node.nic) {
    std::size_t at = 0;
    if (!node.switch_name.empty()) {
      const auto found = names.find(node.switch_name);
      if (found == names.end() || !found->second.is_switch) {
        throw UserError(
            fmt::format("node \"{}\": unknown switch \"{}\"", node.name, node.switch_name));
      }
      at = found->second.index;
    }
    const std::string name = fmt::format("NIC of node \"{}\"", node.name);
    const LinkOrigin origin{.part = LinkOrigin::Part::kNic, .index = nodes_.size()};
    for (std::int64_t nic = 0; nic < node.nics; ++nic) {
      const LinkId out = add_link(*node.nic, name, origin);
      const LinkId in = add_link(*node.nic, name, origin);
      built.switches.push_back({.to = at, .out = out, .in = in});
      cables_.push_back({.a = node.name,
                         .b = node.switch_name.empty() ? first_switch : node.switch_name,
                         .first = out});
    }
  }
  built.first_port = static_cast<LinkId>(links_.size());
  if (node.gpus > 1) {
    const std::string name = fmt::format("path inside node \"{}\"", node.name);
    LinkData in = node.intra_node;  // the whole latency is the way out's
    in.latency = Seconds(0);
    if (in.curve != nullptr) {
      std::shared_ptr<const LinkCurve>& without = curves[in.curve.get()];
      if (without == nullptr) {
        without = std::make_shared<const LinkCurve>([curve = in.curve](std::int64_t message_bytes) {
          return LinkFigures{Seconds(0), (*curve)(message_bytes).bandwidth};
        });
      }
      in.curve = without;
    }
    const LinkOrigin origin{.part = LinkOrigin::Part::kInsideNode, .index = nodes_.size()};
    for (std::int64_t gpu = 0; gpu < node.gpus; ++gpu) {
      add_link(node.intra_node, name, origin);
      add_link(in, name, origin);
    }
  }
  nodes_.push_back(std::move(built));
}

void Network::add_trunk(const TrunkData& trunk, std::size_t index, const Names& names) {
  const auto vertex = [&](const std::string& name) {
    const auto found = names.find(name);
    if (found == names.end()) {
      throw UserError(fmt::format(
          "link \"{}\" to \"{}\": unknown switch or node \"{}\"", trunk.a, trunk.b, name));
    }
    return found->second;
  };
  const Vertex a = vertex(trunk.a);
  const Vertex b = vertex(trunk.b);
  if (trunk.a == trunk.b) {
    throw UserError(fmt::format("link \"{}\" to itself", trunk.a));
  }
  const std::string name = fmt::format("link \"{}\" to \"{}\"", trunk.a, trunk.b);
  const LinkOrigin origin{.part = LinkOrigin::Part::kTrunk, .index = index};
  const LinkId forth = add_link(trunk.link, name, origin);
  const LinkId back = add_link(trunk.link, name, origin);
  cables_.push_back({.a = trunk.a, .b = trunk.b, .first = forth});
  // A switch's own list leads to switches alone: nodes do not forward.
  const auto join = [&](Vertex from, Vertex to, LinkId out, LinkId in) {
    const Edge edge{.to = to.index, .out = out, .in = in};
    if (from.is_switch && to.is_switch) {
      switch_edges_[from.index].push_back(edge);
    } else if (!from.is_switch) {
      (to.is_switch ? nodes_[from.index].switches : nodes_[from.index].neighbours).push_back(edge);
    }
  };
  join(a, b, forth, back);
  join(b, a, back, forth);
}

void Network::check_connected(std::vector<std::string>& problems) const {
  // One group per node or switch, joined along every link.
  std::vector<std::size_t> group(nodes_.size() + switch_edges_.size());
  std::iota(group.begin(), group.end(), std::size_t{0});
  const auto root = [&](std::size_t vertex) {
    while (group[vertex] != vertex) {
      vertex = group[vertex] = group[group[vertex]];
    }
    return vertex;
  };
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (const Edge& edge : nodes_[node].switches) {
      group[root(node)] = root(nodes_.size() + edge.to);
    }
    for (const Edge& edge : nodes_[node].neighbours) {
      group[root(node)] = root(edge.to);
    }
  }
  for (std::size_t from = 0; from < switch_edges_.size(); ++from) {
    for (const Edge& edge : switch_edges_[from]) {
      group[root(nodes_.size() + from)] = root(nodes_.size() + edge.to);
    }
  }
  for (std::size_t node = 1; node < nodes_.size(); ++node) {
    if (root(node) != root(0)) {
      problems.push_back(fmt::format("node \"{}\" cannot reach node \"{}\": no link joins them",
                                     nodes_[node].name,
                                     nodes_[0].name));
    }
  }
}

std::size_t Network::node_of(std::int64_t rank) const {
  if (rank < 0 || rank >= world_size()) {
    throw UserError(
        fmt::format("rank {} is not one of the cluster's {} ranks", rank, world_size()));
  }
  return node_of_[static_cast<std::size_t>(rank)];
}

std::uint32_t Network::nearest_nic(std::size_t node, std::int64_t rank) const {
  const std::int64_t gpus = gpu_base_[node + 1] - gpu_base_[node];
  return static_cast<std::uint32_t>((rank - gpu_base_[node]) * nodes_[node].nics / gpus);
}

std::optional<std::pair<LinkId, LinkId>> Network::ports_of(std::int64_t rank) const {
  const std::size_t node = node_of(rank);
  if (gpu_base_[node + 1] - gpu_base_[node] < 2) {
    return std::nullopt;
  }
  const LinkId out = nodes_[node].first_port + 2 * static_cast<LinkId>(rank - gpu_base_[node]);
  return std::pair(out, out + 1);
}

bool Network::is_star() const {
  return switch_edges_.size() == 1 && std::all_of(nodes_.begin(), nodes_.end(), [](const Node& n) {
           return n.neighbours.empty() && n.has_nic && n.switches.size() == n.nics;
         });
}

void Network::append_route(std::int64_t from, std::int64_t to, std::vector<LinkId>& path) const {
  if (from == to) {
    return;
  }
  const std::size_t source = node_of(from);
  const std::size_t target = node_of(to);
  if (source == target) {
    path.push_back(ports_of(from)->first);
    path.push_back(ports_of(to)->second);
    return;
  }
  append_route_between(source, target, nearest_nic(source, from), nearest_nic(target, to), path);
}

void Network::append_route(std::int64_t from,
                           std::int64_t to,
                           std::uint32_t rail,
                           std::vector<LinkId>& path) const {
  const std::size_t source = node_of(from);
  const std::size_t target = node_of(to);
  if (source == target) {
    append_route(from, to, path);
    return;
  }
  append_route_between(
      source, target, rail % nodes_[source].nics, rail % nodes_[target].nics, path);
}

void Network::append_route_between(std::size_t source,
                                   std::size_t target,
                                   std::uint32_t nic_out,
                                   std::uint32_t nic_in,
                                   std::vector<LinkId>& path) const {
  for (const Edge& cable : nodes_[source].neighbours) {
    if (cable.to == target) {
      path.push_back(cable.out);
      return;
    }
  }
  if (nodes_[source].switches.size() == 1 && nodes_[target].switches.size() == 1) {
    const Edge& up = nodes_[source].switches.front();
    const Edge& down = nodes_[target].switches.front();
    if (up.to == down.to) {
      path.push_back(up.out);
      path.push_back(down.in);
      return;
    }
  }
  // The NICs of a node come first among its ways to the network: of these only the chosen one.
  const auto is_other_nic = [](const Node& node, const Edge& way, std::uint32_t nic) {
    const auto index = static_cast<std::uint32_t>(&way - node.switches.data());
    return node.has_nic && index < node.nics && index != nic;
  };
  std::optional<std::vector<LinkId>> best;
  std::vector<LinkId> candidate;
  for (const Edge& up : nodes_[source].switches) {
    if (is_other_nic(nodes_[source], up, nic_out)) {
      continue;
    }
    for (const Edge& down : nodes_[target].switches) {
      if (is_other_nic(nodes_[target], down, nic_in)) {
        continue;
      }
      candidate.assign(1, up.out);
      if (!append_switch_route(up.to, down.to, candidate)) {
        continue;
      }
      candidate.push_back(down.in);
      if (!best || candidate.size() < best->size()) {
        best = candidate;
      }
    }
  }
  if (!best) {
    throw UserError(fmt::format("node \"{}\" cannot reach node \"{}\": no switches join them",
                                nodes_[source].name,
                                nodes_[target].name));
  }
  path.insert(path.end(), best->begin(), best->end());
}

bool Network::append_switch_route(std::size_t from,
                                  std::size_t to,
                                  std::vector<LinkId>& path) const {
  if (from == to) {
    return true;
  }

  struct Step {
    std::size_t at = 0;
    std::size_t parent = 0;  // index into `reached`
    LinkId link = 0;
  };

  std::vector<Step> reached{{.at = from}};
  std::vector<bool> seen(switch_edges_.size(), false);
  seen[from] = true;
  for (std::size_t next = 0; next < reached.size(); ++next) {
    for (const Edge& edge : switch_edges_[reached[next].at]) {
      if (seen[edge.to]) {
        continue;
      }
      seen[edge.to] = true;
      reached.push_back({.at = edge.to, .parent = next, .link = edge.out});
      if (edge.to == to) {
        const auto begin = static_cast<std::ptrdiff_t>(path.size());
        for (std::size_t step = reached.size() - 1; step != 0; step = reached[step].parent) {
          path.push_back(reached[step].link);
        }
        std::reverse(path.begin() + begin, path.end());
        return true;
      }
    }
  }
  return false;
}

std::vector<LinkId> Network::nic_links(const std::string& node) const {
  std::vector<LinkId> found;
  for (const Node& candidate : nodes_) {
    if (candidate.name == node) {
      for (const Edge& edge : candidate.switches) {
        found.push_back(edge.out);
        found.push_back(edge.in);
      }
    }
  }
  if (found.empty()) {
    throw UserError(fmt::format("no node \"{}\" with a link to a switch", node));
  }
  return found;
}

std::vector<LinkId> Network::trunk_links(const std::string& a, const std::string& b) const {
  std::vector<LinkId> found;
  for (const Cable& trunk : cables_) {
    if ((trunk.a == a && trunk.b == b) || (trunk.a == b && trunk.b == a)) {
      found.push_back(trunk.first);
      found.push_back(trunk.first + 1);
    }
  }
  if (found.empty()) {
    throw UserError(fmt::format("no link between \"{}\" and \"{}\"", a, b));
  }
  return found;
}

void Network::set_bandwidth(LinkId link, BytesPerSecond bandwidth) {
  links_.set_bandwidth(link, bandwidth);
}

}  // namespace vitsim
