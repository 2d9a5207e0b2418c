#include "models/experiment/cluster_reader.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/experiment/limits.h"

namespace vitsim {

namespace {

constexpr Range kSlowdown{.least = 0, .most = 1e6, .above_least = true};

constexpr std::int64_t kMostNics = 1024;

// Bandwidth and latency among an object's keys, or a data sheet's or a profile's name.
LinkSpec read_link_keys(ObjectReader& object) {
  LinkSpec link;
  link.where = object.field().where();
  const auto sheet = object.find("link");
  const auto profile = object.find("profile");
  const auto bandwidth = object.find("bandwidth");
  const auto latency = object.find("latency");
  if (sheet || profile) {
    (sheet ? link.sheet : link.profile) = (sheet ? sheet : profile)->text();
    if (sheet && profile) {
      profile->problem("is given beside a link, which says it already: keep one of the two");
    }
    for (const auto& other : {bandwidth, latency}) {
      if (other) {
        other->problem(
            fmt::format("is given beside a {}, which says it already: keep one of the two",
                        sheet ? "link" : "profile"));
      }
    }
    return link;
  }
  if (bandwidth) {
    link.bandwidth = bandwidth->bandwidth();
  } else if (object.is_object()) {
    object.field().problem(
        R"(needs a "bandwidth" (e.g. "10Gbps"), a "link" (e.g. "ib-ndr") or a "profile")");
  }
  if (latency) {
    link.latency = latency->seconds(Seconds(0), kMostLatency);
  }
  return link;
}

// A link, or several of the kind.
LinkSpec read_nic(const Field& field) {
  ObjectReader object(field);
  LinkSpec link = read_link_keys(object);
  object.read("count", link.count, 1, kMostNics);
  object.finish();
  return link;
}

GpuSpec read_gpu(const Field& field) {
  GpuSpec gpu;
  gpu.where = field.where();
  if (field.is_string()) {
    gpu.model = field.text().value_or("");
    return gpu;
  }
  if (!field.is_object()) {
    field.problem(
        fmt::format("must be a GPU's name or {{\"model\": ..., \"slowdown\": ...}}, not {}",
                    field.value().kind()));
    return gpu;
  }
  ObjectReader object(field);
  if (const auto model = object.require("model")) {
    gpu.model = model->text().value_or("");
    gpu.where = model->where();
  }
  object.read("slowdown", gpu.slowdown, kSlowdown);
  object.finish();
  return gpu;
}

struct NodeGroup {
  NodeSpec node;
  std::int64_t count = 1;
};

NodeGroup read_node(const Field& field, std::size_t index) {
  NodeGroup group;
  ObjectReader object(field);
  group.node.name = fmt::format("node-{}", index);
  object.read("name", group.node.name);
  object.read("count", group.count, 1, kMostRanks);
  if (const auto gpus = object.require("gpus")) {
    const auto elements = gpus->elements();
    if (gpus->is_array() && elements.empty()) {
      gpus->problem("a node needs at least one GPU");
    }
    for (const Field& element : elements) {
      group.node.gpus.push_back(read_gpu(element));
    }
  }
  if (const auto nic = object.find("nic")) {
    group.node.nic = read_nic(*nic);
  }
  if (const auto switch_name = object.find("switch")) {
    group.node.switch_name = switch_name->text();
  }
  if (const auto intra = object.find("intra_node")) {
    group.node.intra_node = read_link(*intra);
  }
  if (const auto host = object.find("host")) {
    group.node.host = host->text();
  }
  if (const auto memory = object.find("host_memory")) {
    group.node.host_memory = memory->bytes(Bytes(1), Bytes(1e16));
  }
  object.finish();
  return group;
}

// A null in place of a node leaves it out, and the others keep their numbers.
void read_nodes(const Field& field, ClusterSpec& cluster) {
  const auto elements = field.elements();
  if (field.is_array() && elements.empty()) {
    field.problem("a cluster needs at least one node");
  }
  std::vector<NodeGroup> groups;
  std::int64_t ranks = 0;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    groups.push_back(elements[i].is_null() ? NodeGroup{.node = {}, .count = 0}
                                           : read_node(elements[i], i));
    // At most 10^6 nodes of at most 2 * 10^6 GPUs (the most values of a document): no overflow.
    ranks += groups.back().count * static_cast<std::int64_t>(groups.back().node.gpus.size());
    if (ranks > kMostRanks) {
      elements[i].problem(
          fmt::format("makes {} GPUs; a cluster has at most {}", ranks, kMostRanks));
      return;
    }
  }
  if (!elements.empty() && std::ranges::all_of(elements, &Field::is_null)) {
    field.problem("a cluster needs at least one node: all of them are null");
  }
  std::unordered_map<std::string, std::size_t> first_use;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (std::int64_t copy = 0; copy < groups[i].count; ++copy) {
      NodeSpec node = groups[i].node;
      if (groups[i].count > 1) {
        node.name += fmt::format("-{}", copy);
      }
      if (const auto [use, is_new] = first_use.emplace(node.name, i); !is_new) {
        elements[i].problem(fmt::format(
            "node {} has the name of /cluster/nodes/{}", in_quotes(node.name), use->second));
        break;
      }
      cluster.nodes.push_back(std::move(node));
    }
  }
}

void read_switches(const Field& field, ClusterSpec& cluster) {
  std::unordered_set<std::string> taken;
  for (const NodeSpec& node : cluster.nodes) {
    taken.insert(node.name);
  }
  for (const Field& element : field.elements()) {
    const auto name = element.text();
    if (!name) {
      continue;
    }
    if (!taken.insert(*name).second) {
      element.problem(
          fmt::format("switch {} has the name of a node or another switch", in_quotes(*name)));
    }
    cluster.switches.push_back(*name);
  }
}

// Nodes were read before the switches: their `switch` is looked up again here.
void check_switch_names(const Field& nodes, const ClusterSpec& cluster) {
  const std::unordered_set<std::string> known(cluster.switches.begin(), cluster.switches.end());
  for (const Field& element : nodes.elements()) {
    if (!element.is_object()) {
      continue;
    }
    const auto name = ObjectReader(element).find("switch");
    if (!name || !name->is_string()) {
      continue;
    }
    const std::string word = name->text().value_or("");
    if (!word.empty() && !known.contains(word)) {
      name->problem(fmt::format(
          "unknown switch {}{}", in_quotes(word), did_you_mean(word, cluster.switches)));
    }
  }
}

std::vector<std::string> end_names(const ClusterSpec& cluster) {
  std::vector<std::string> names = cluster.switches;
  for (const NodeSpec& node : cluster.nodes) {
    names.push_back(node.name);
  }
  return names;
}

// A null in place of a link leaves it out.
void read_trunks(const Field& field, ClusterSpec& cluster) {
  const std::vector<std::string> names = end_names(cluster);
  const std::unordered_set<std::string> known(names.begin(), names.end());
  for (const Field& element : field.elements()) {
    if (element.is_null()) {
      continue;
    }
    TrunkSpec trunk;
    ObjectReader object(element);
    if (const auto ends = object.require("ends")) {
      const auto both = ends->elements();
      if (ends->is_array() && both.size() != 2) {
        ends->problem(fmt::format("a link has two ends, not {}", both.size()));
      }
      std::vector<std::string> found;
      for (const Field& end : both) {
        found.push_back(end.text().value_or(""));
        if (!found.back().empty() && !known.contains(found.back())) {
          end.problem(fmt::format("unknown node or switch {}{}",
                                  in_quotes(found.back()),
                                  did_you_mean(found.back(), names)));
        }
      }
      if (found.size() == 2) {
        trunk.a = found[0];
        trunk.b = found[1];
        if (trunk.a == trunk.b && !trunk.a.empty()) {
          ends->problem("joins an end to itself");
        }
      }
    }
    trunk.link = read_link_keys(object);
    object.finish();
    cluster.links.push_back(std::move(trunk));
  }
}

// Names of the parts of the network as numbers, joined by union-find.
class Islands {
 public:
  explicit Islands(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      index_.emplace(name, index_.size());
    }
    parent_.resize(index_.size());
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  /// False where one of the names is unknown.
  bool join(const std::string& a, const std::string& b) {
    const auto at = index_.find(a);
    const auto bt = index_.find(b);
    if (at == index_.end() || bt == index_.end()) {
      return false;
    }
    parent_[root(at->second)] = root(bt->second);
    return true;
  }

  bool joined(const std::string& a, const std::string& b) {
    return root(index_.at(a)) == root(index_.at(b));
  }

 private:
  std::size_t root(std::size_t i) {
    while (parent_[i] != i) {
      parent_[i] = parent_[parent_[i]];
      i = parent_[i];
    }
    return i;
  }

  std::unordered_map<std::string, std::size_t> index_;
  std::vector<std::size_t> parent_;
};

void check_network(const Field& field, const ClusterSpec& cluster) {
  std::unordered_set<std::string> linked;
  for (const TrunkSpec& trunk : cluster.links) {
    linked.insert(trunk.a);
    linked.insert(trunk.b);
  }
  std::vector<std::string> names = end_names(cluster);
  const std::string the_switch = cluster.switches.empty() ? "" : cluster.switches.front();
  if (cluster.switches.empty()) {
    names.push_back(the_switch);  // the one unnamed switch; no node can have this name
  }
  Islands islands(names);
  bool all_known = true;
  for (const TrunkSpec& trunk : cluster.links) {
    all_known = islands.join(trunk.a, trunk.b) && all_known;
  }
  bool lacks_nic = false;
  for (const NodeSpec& node : cluster.nodes) {
    if (linked.contains(node.name) && !node.switch_name && !node.nic) {
      continue;
    }
    lacks_nic = lacks_nic || !node.nic;
    all_known = islands.join(node.name, node.switch_name.value_or(the_switch)) && all_known;
  }
  if (cluster.nodes.size() < 2) {
    return;
  }
  if (lacks_nic && !cluster.network) {
    field.problem(R"(more than one node: needs "network", e.g. )"
                  R"({"bandwidth": "10Gbps", "latency": "50us"}, or a "nic" in every node)");
  }
  for (const NodeSpec& node : cluster.nodes) {
    if (all_known && !islands.joined(cluster.nodes.front().name, node.name)) {
      field.problem(fmt::format("no path joins nodes {} and {}",
                                in_quotes(cluster.nodes.front().name),
                                in_quotes(node.name)));
      return;
    }
  }
}

}  // namespace

LinkSpec read_link(const Field& field) {
  ObjectReader object(field);
  LinkSpec link = read_link_keys(object);
  object.finish();
  return link;
}

ClusterSpec read_cluster(const Field& field) {
  ClusterSpec cluster;
  ObjectReader object(field);
  const auto nodes = object.require("nodes");
  if (nodes) {
    read_nodes(*nodes, cluster);
  }
  if (const auto network = object.find("network")) {
    cluster.network = read_nic(*network);
  }
  if (const auto intra = object.find("intra_node")) {
    cluster.intra_node = read_link(*intra);
  }
  const auto switches = object.find("switches");
  if (switches) {
    read_switches(*switches, cluster);
  }
  if (nodes) {
    check_switch_names(*nodes, cluster);
  }
  if (const auto links = object.find("links")) {
    read_trunks(*links, cluster);
  }
  object.finish();
  if (object.is_object() && !cluster.nodes.empty()) {
    check_network(field, cluster);
  }
  return cluster;
}

}  // namespace vitsim
