// Which links NCCL's algorithms load, and how much.
//
// All of them are pipelines: once they are filled every link carries its part all the time, and the
// most loaded one decides. So what counts is how often each byte crosses each link. Work is split
// evenly over the NICs of a node, as NCCL's channels are.
#include "sim/collective/nccl_loads.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "sim/collective/tree.h"

namespace vitsim {

namespace {

/// Sums shares by link, in the order in which links are met first.
class Loads {
 public:
  explicit Loads(const NcclGroup& group) : group_(group) {}

  void add(LinkId link, double share) {
    const auto [found, fresh] = index_.try_emplace(link, loads_.size());
    if (fresh) {
      loads_.push_back({.link = link});
    }
    loads_[found->second].share += share;
  }

  /// Between two positions of different nodes, split over the rails.
  void add_between(std::uint32_t from, std::uint32_t to, std::uint32_t rails, double share) {
    for (std::uint32_t rail = 0; rail < rails; ++rail) {
      path_.clear();
      group_.network.append_route(group_.ranks[from], group_.ranks[to], rail, path_);
      for (const LinkId link : path_) {
        add(link, share / rails);
      }
    }
  }

  /// What a position sends and receives by its own way inside its node.
  void add_ports(std::uint32_t position, double out, double in) {
    if (const auto ports = group_.network.ports_of(group_.ranks[position])) {
      add(ports->first, out);
      add(ports->second, in);
    }
  }

  std::vector<LinkLoad> take() { return std::move(loads_); }

 private:
  const NcclGroup& group_;
  std::unordered_map<LinkId, std::size_t> index_;
  std::vector<LinkLoad> loads_;
  std::vector<LinkId> path_;
};

/// A chain through each node: every byte goes up to the first GPU and down again.
void add_chains(const NcclGroup& group, Loads& loads) {
  for (const std::vector<std::uint32_t>& node : group.nodes) {
    for (std::size_t gpu = 0; gpu < node.size(); ++gpu) {
      const double both = (gpu > 0 ? 1 : 0) + (gpu + 1 < node.size() ? 1 : 0);
      loads.add_ports(node[gpu], both, both);
    }
  }
}

void add_trees(const NcclGroup& group, Loads& loads) {
  const std::uint32_t rails = rails_of(group);
  NodeGroups heads;
  for (std::uint32_t node = 0; node < group.nodes.size(); ++node) {
    heads.push_back({node});
  }
  for (const SpanningTree& tree : double_tree_plan(heads, 2).trees) {
    for (std::uint32_t node = 0; node < heads.size(); ++node) {
      if (node != tree.root) {
        const std::uint32_t child = group.nodes[node].front();
        const std::uint32_t parent = group.nodes[tree.parent[node]].front();
        loads.add_between(child, parent, rails, 0.5);
        loads.add_between(parent, child, rails, 0.5);
      }
    }
  }
}

}  // namespace

std::uint32_t rails_of(const NcclGroup& group) {
  if (group.nodes.size() < 2) {
    return 1;
  }
  std::uint32_t fewest = std::numeric_limits<std::uint32_t>::max();
  for (const std::vector<std::uint32_t>& node : group.nodes) {
    const std::size_t place = group.network.node_of(group.ranks[node.front()]);
    fewest = std::min(fewest, group.network.nics_of(place));
  }
  return fewest;
}

std::vector<LinkLoad> ring_loads(const NcclGroup& group) {
  Loads loads(group);
  const auto n = static_cast<std::uint32_t>(group.ranks.size());
  const std::uint32_t rails = rails_of(group);
  if (group.nodes.size() == 1) {
    for (std::uint32_t position = 0; position < n; ++position) {
      loads.add_ports(position, 1, 1);
    }
    return loads.take();
  }
  for (std::size_t m = 0; m < group.nodes.size(); ++m) {
    const std::vector<std::uint32_t>& node = group.nodes[m];
    // A ring of G GPUs in a node has G - 1 hops there. With as many rings as GPUs each GPU is the
    // last of one of them; with fewer some GPU is never last.
    const bool is_spread = rails >= node.size();
    const double inside =
        is_spread ? static_cast<double>(node.size() - 1) / static_cast<double>(node.size()) : 1;
    for (const std::uint32_t position : node) {
      loads.add_ports(position, inside, inside);
    }
    loads.add_between(node.back(), group.nodes[(m + 1) % group.nodes.size()].front(), rails, 1);
  }
  return loads.take();
}

std::vector<LinkLoad> tree_loads(const NcclGroup& group) {
  Loads loads(group);
  add_chains(group, loads);
  add_trees(group, loads);
  return loads.take();
}

std::vector<LinkLoad> tree_loads_between_nodes(const NcclGroup& group) {
  Loads loads(group);
  add_trees(group, loads);
  return loads.take();
}

std::vector<LinkLoad> collnet_loads(const NcclGroup& group) {
  Loads loads(group);
  add_chains(group, loads);
  const std::uint32_t rails = rails_of(group);
  for (std::size_t m = 0; m < group.nodes.size() && group.nodes.size() > 1; ++m) {
    const std::size_t next = (m + 1) % group.nodes.size();
    loads.add_between(group.nodes[m].front(), group.nodes[next].front(), rails, 1);
  }
  return loads.take();
}

std::vector<LinkLoad> pairwise_loads(const NcclGroup& group) {
  Loads loads(group);
  const auto n = static_cast<double>(group.ranks.size());
  const std::uint32_t rails = rails_of(group);
  for (const std::vector<std::uint32_t>& node : group.nodes) {
    for (const std::uint32_t position : node) {
      const double inside = static_cast<double>(node.size() - 1) / n;
      loads.add_ports(position, inside, inside);
    }
  }
  const std::size_t nodes = group.nodes.size();
  if (nodes < 2) {
    return loads.take();
  }
  if (group.network.is_star()) {
    // Only NICs are shared: what leaves a node may as well all go to its neighbour, and what
    // enters it comes from there, when the loads of the two directions are told apart.
    for (std::size_t m = 0; m < nodes; ++m) {
      const double own = static_cast<double>(group.nodes[m].size());
      const double outside = own * (n - own) / n;
      std::vector<LinkId> path;
      for (std::uint32_t rail = 0; rail < rails; ++rail) {
        path.clear();
        group.network.append_route(group.ranks[group.nodes[m].front()],
                                   group.ranks[group.nodes[(m + 1) % nodes].front()],
                                   rail,
                                   path);
        // Out of this node and, since a NIC's way in follows its way out, into it.
        loads.add(path.front(), outside / rails);
        loads.add(path.front() + 1, outside / rails);
      }
    }
    return loads.take();
  }
  for (std::size_t a = 0; a < nodes; ++a) {
    for (std::size_t b = 0; b < nodes; ++b) {
      if (a != b) {
        const auto pairs = static_cast<double>(group.nodes[a].size() * group.nodes[b].size());
        loads.add_between(group.nodes[a].front(), group.nodes[b].front(), rails, pairs / n);
      }
    }
  }
  return loads.take();
}

}  // namespace vitsim
