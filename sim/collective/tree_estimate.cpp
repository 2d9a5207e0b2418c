#include "sim/collective/tree_estimate.h"

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "sim/collective/lone_run.h"
#include "sim/collective/tree.h"
#include "sim/collective/tree_collective.h"

// Two pipelined trees over many nodes, from trees over few.
//
// In a tree over n nodes the NIC of an inner node carries four messages for each pair of chunks
// each way, whatever n is: three in the tree in which it is inner, one in the tree in which it is a
// leaf. So chunks follow one another with a period p that the slowest NIC, or the slowest chain of
// GPUs inside a node, sets. The number of nodes decides only how long the pipeline takes to fill
// and to run empty: each doubling of n adds one level to both trees and a time q. A chain of g GPUs
// behind every NIC adds the time in which a chunk passes along it. Its first three GPUs hold
// everything that can be its bottleneck; the others only make it longer, by a time r in all. With c
// chunks
//
//   T(n, g, c) = T(n0, 3, c0) + (c - c0) p + (levels of n - levels of n0) q + r.
//
// The terms come from simulations of small trees, message by message, with chunks of the same size.
//   T(n0, 3, c0) and p: n0 nodes of the cluster, of every kind its part, in the order in which they
//     stand; p from half of the chunks.
//   q: 16 and 8 nodes that are all like the node which a quarter of the nodes is slower than. The
//     longest way through a tree seeks slow nodes, but a rare one does not lie on every level.
//   r: two nodes of the cluster.
// How the flows share the NICs changes a little with n and c; that is the error. Trees so small
// that their simulation costs no more are simulated whole.

namespace vitsim {

namespace {

constexpr std::size_t kNodes = 16;
constexpr std::size_t kGpus = 3;
constexpr std::int64_t kChunks = 24;
constexpr std::int64_t kFewMessages = 3000;

/// Levels of an in-order binary tree over `n` nodes.
std::int64_t levels(std::size_t n) {
  return static_cast<std::int64_t>(std::bit_width(n - 1));
}

/// From the common start to the last end of a tree over machines on one switch.
Tick simulate(std::vector<NodeData> machines, std::int64_t chunk_bytes, std::int64_t chunks) {
  NodeGroups groups;
  std::vector<std::int64_t> ranks;
  for (std::size_t i = 0; i < machines.size(); ++i) {
    machines[i].name = fmt::format("{}", i);
    groups.emplace_back();
    for (std::int64_t gpu = 0; gpu < machines[i].gpus; ++gpu) {
      groups.back().push_back(static_cast<std::uint32_t>(ranks.size()));
      ranks.push_back(static_cast<std::int64_t>(ranks.size()));
    }
  }
  TreePlan plan = double_tree_plan(groups, 2);
  plan.chunk_bytes = chunk_bytes;
  plan.chunks = chunks;
  const std::vector<Tick> starts(ranks.size());
  const Network network({.nodes = std::move(machines), .switches = {}, .trunks = {}});
  FlowEngine engine(network.links());
  StreamSet streams(engine, network, std::move(ranks));
  const std::vector<Tick> ends =
      run_alone(engine, "all-reduce", starts, [&](CollectiveListener& done) {
        return make_tree_collective(streams, std::move(plan), done, 0);
      });
  return *std::max_element(ends.begin(), ends.end());
}

/// The nodes of a group by what their links are.
class Machines {
 public:
  Machines(const Network& network, std::span<const std::int64_t> ranks, const NodeGroups& nodes);

  /// Do messages between nodes cross their two NICs and nothing else?
  [[nodiscard]] bool are_on_one_switch() const { return one_switch_; }

  /// `count` nodes: of every kind its part, at least one as long as there is room, spread evenly.
  /// Each with at most `gpus` GPUs.
  [[nodiscard]] std::vector<NodeData> choose(std::size_t count, std::size_t gpus) const;

  /// `count` times the node that a quarter of the nodes is slower than, with one GPU.
  [[nodiscard]] std::vector<NodeData> alike(std::size_t count) const;

  [[nodiscard]] std::size_t most_gpus() const { return most_gpus_; }

 private:
  struct Kind {
    NodeData data;
    std::vector<std::size_t> members;
  };

  std::vector<Kind> kinds_;
  std::size_t nodes_ = 0;
  std::size_t most_gpus_ = 0;
  bool one_switch_ = true;
};

Machines::Machines(const Network& network,
                   std::span<const std::int64_t> ranks,
                   const NodeGroups& nodes)
    : nodes_(nodes.size()) {
  const LinkTable& links = network.links();
  std::map<std::vector<std::uint32_t>, std::size_t> numbers;
  std::vector<LinkId> path;
  for (std::size_t node = 0; node < nodes.size() && one_switch_; ++node) {
    const auto rank = [&](std::size_t at, std::size_t gpu) { return ranks[nodes[at][gpu]]; };
    path.clear();
    network.append_route(rank(node, 0), rank(node == 0 ? 1 : node - 1, 0), path);
    one_switch_ = path.size() == 2 && network.origin(path[0]).part == LinkOrigin::Part::kNic &&
                  network.origin(path[1]).part == LinkOrigin::Part::kNic;
    path.resize(1);
    const std::size_t gpus = nodes[node].size();
    if (gpus > 1) {
      network.append_route(rank(node, 0), rank(node, 1), path);
    }
    most_gpus_ = std::max(most_gpus_, gpus);
    std::vector<std::uint32_t> key(1, static_cast<std::uint32_t>(gpus));
    for (const LinkId link : path) {
      key.push_back(links.kind(link));
    }
    const auto [found, fresh] = numbers.try_emplace(std::move(key), kinds_.size());
    if (fresh) {
      Kind kind;
      kind.data.gpus = static_cast<std::int64_t>(gpus);
      kind.data.nic = links[path[0]];
      kind.data.intra_node = gpus > 1 ? links[path[1]] : links[path[0]];
      kinds_.push_back(std::move(kind));
    }
    kinds_[found->second].members.push_back(node);
  }
}

std::vector<NodeData> Machines::choose(std::size_t count, std::size_t gpus) const {
  // Rare kinds first: they get their one node before the common ones share the rest.
  std::vector<const Kind*> kinds;
  for (const Kind& kind : kinds_) {
    kinds.push_back(&kind);
  }
  std::stable_sort(kinds.begin(), kinds.end(), [](const Kind* a, const Kind* b) {
    return a->members.size() < b->members.size();
  });
  std::map<std::size_t, const Kind*> chosen;  // in the order in which they stand
  std::size_t nodes_left = nodes_;
  std::size_t count_left = count;
  for (std::size_t k = 0; k < kinds.size() && count_left != 0; ++k) {
    // Of kinds that are too many to have a node each, some are passed over.
    const std::size_t size = kinds[k]->members.size();
    const std::size_t kinds_left = kinds.size() - k;
    const std::size_t part = (2 * count_left * size + nodes_left) / (2 * nodes_left);
    const std::size_t least = count_left >= kinds_left ? 1 : 0;
    const std::size_t taken = std::min(std::max(part, least), count_left);
    for (std::size_t i = 0; i < taken; ++i) {
      chosen[kinds[k]->members[i * size / taken]] = kinds[k];
    }
    nodes_left -= size;
    count_left -= taken;
  }
  std::vector<NodeData> machines;
  for (const auto& [node, kind] : chosen) {
    machines.push_back(kind->data);
    machines.back().gpus = std::min(kind->data.gpus, static_cast<std::int64_t>(gpus));
  }
  return machines;
}

std::vector<NodeData> Machines::alike(std::size_t count) const {
  std::vector<const Kind*> kinds;
  for (const Kind& kind : kinds_) {
    kinds.push_back(&kind);
  }
  std::stable_sort(kinds.begin(), kinds.end(), [](const Kind* a, const Kind* b) {
    return a->data.nic->bandwidth < b->data.nic->bandwidth;
  });
  std::size_t slower = 0;
  auto typical = kinds.begin();
  while (slower += (*typical)->members.size(), slower <= nodes_ / 4) {
    ++typical;
  }
  std::vector<NodeData> machines(count, (*typical)->data);
  for (NodeData& machine : machines) {
    machine.gpus = 1;
  }
  return machines;
}

}  // namespace

std::optional<Tick> estimated_tree_time(const Network& network,
                                        std::span<const std::int64_t> ranks,
                                        const NodeGroups& nodes,
                                        std::int64_t bytes) {
  if (nodes.size() <= kNodes) {
    return std::nullopt;
  }
  const Machines machines(network, ranks, nodes);
  if (!machines.are_on_one_switch()) {
    return std::nullopt;
  }
  TreePlan plan;
  set_chunks(plan, divide_up(bytes, 2));
  const std::int64_t size = plan.chunk_bytes;
  if (static_cast<std::int64_t>(ranks.size()) * plan.chunks <= kFewMessages) {
    return simulate(machines.choose(nodes.size(), machines.most_gpus()), size, plan.chunks);
  }
  const std::int64_t chunks = std::min(plan.chunks, kChunks);
  const Tick base = simulate(machines.choose(kNodes, kGpus), size, chunks);
  const Tick level =
      simulate(machines.alike(16), size, chunks) - simulate(machines.alike(8), size, chunks);
  Tick total = base + (levels(nodes.size()) - levels(kNodes)) * level;
  if (plan.chunks > chunks) {
    const std::int64_t half = chunks / 2;
    const Tick of_half = simulate(machines.choose(kNodes, kGpus), size, half);
    total += (plan.chunks - chunks) * (base - of_half) / (chunks - half);
  }
  if (machines.most_gpus() > kGpus) {
    const std::int64_t few = std::min<std::int64_t>(chunks, 4);
    total += simulate(machines.choose(2, machines.most_gpus()), size, few) -
             simulate(machines.choose(2, kGpus), size, few);
  }
  return total;
}

}  // namespace vitsim
