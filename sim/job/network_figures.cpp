#include "sim/job/network_figures.h"

#include <algorithm>
#include <memory>
#include <set>

namespace vitsim {

namespace {

LinkData link_data(const LinkSpec& spec, const ProfileSet& profiles) {
  if (!spec.profile) {
    return {.latency = spec.latency.value_or(Seconds(0)), .bandwidth = *spec.bandwidth};
  }
  const LinkProfile& profile = profiles.links.at(*spec.profile);
  LinkData data{.latency = profile.latency, .bandwidth = profile.bandwidth};
  if (!profile.curve.empty()) {
    for (const LinkPoint& point : profile.curve) {
      data.bandwidth = std::max(data.bandwidth, point.bandwidth);
    }
    data.curve = std::make_shared<const LinkCurve>([profile](std::int64_t message_bytes) {
      const LinkPoint point = profile.at(Bytes(static_cast<double>(message_bytes)));
      return LinkFigures{.latency = point.latency, .bandwidth = point.bandwidth};
    });
  }
  return data;
}

}  // namespace

ClusterSpec with_measured_paths(ClusterSpec cluster, const ProfileSet& profiles) {
  if (cluster.intra_node) {
    return cluster;
  }
  for (NodeSpec& node : cluster.nodes) {
    std::set<std::string> paths;
    for (const GpuSpec& gpu : node.gpus) {
      const auto profile = profiles.gpus.find(gpu.model);
      paths.insert(profile == profiles.gpus.end() ? "" : profile->second.intra_node);
    }
    if (!node.intra_node && paths.size() == 1 && profiles.links.contains(*paths.begin())) {
      node.intra_node = LinkSpec{.profile = *paths.begin()};
    }
  }
  return cluster;
}

NetworkData network_data(const ClusterSpec& cluster, const ProfileSet& profiles) {
  NetworkData network{.switches = cluster.switches};
  const LinkData default_intra =
      cluster.intra_node ? link_data(*cluster.intra_node, profiles)
                         : LinkData{.latency = kPcie3Latency, .bandwidth = kPcie3Bandwidth};
  for (const NodeSpec& spec : cluster.nodes) {
    NodeData node{
        .name = spec.name,
        .gpus = static_cast<std::int64_t>(spec.gpus.size()),
        .switch_name = spec.switch_name.value_or(""),
        .intra_node = spec.intra_node ? link_data(*spec.intra_node, profiles) : default_intra};
    const bool on_trunk = std::ranges::any_of(cluster.links, [&](const TrunkSpec& trunk) {
      return trunk.a == spec.name || trunk.b == spec.name;
    });
    if (spec.nic) {
      node.nic = link_data(*spec.nic, profiles);
    } else if (cluster.network && (!on_trunk || spec.switch_name)) {
      node.nic = link_data(*cluster.network, profiles);
    }
    network.nodes.push_back(std::move(node));
  }
  for (const TrunkSpec& trunk : cluster.links) {
    network.trunks.push_back({trunk.a, trunk.b, link_data(trunk.link, profiles)});
  }
  return network;
}

}  // namespace vitsim
