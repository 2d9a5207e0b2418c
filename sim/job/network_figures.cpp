#include "sim/job/network_figures.h"

#include <algorithm>

#include "sim/job/link_figures.h"

namespace vitsim {

NetworkData network_data(const ClusterSpec& cluster, const ProfileSet& profiles) {
  NetworkData network{.switches = cluster.switches};
  const LinkData default_intra = cluster.intra_node ? link_data(*cluster.intra_node, profiles)
                                                    : LinkData{.latency = kPcie3Latency,
                                                               .bandwidth = kPcie3Bandwidth,
                                                               .traits = {.kind = LinkKind::kPcie}};
  for (const NodeSpec& spec : cluster.nodes) {
    NodeData node{
        .name = spec.name,
        .gpus = static_cast<std::int64_t>(spec.gpus.size()),
        .switch_name = spec.switch_name.value_or(""),
        .intra_node = spec.intra_node ? link_data(*spec.intra_node, profiles) : default_intra,
        .accelerator = accelerator_of(spec, profiles)};
    const bool on_trunk = std::ranges::any_of(cluster.links, [&](const TrunkSpec& trunk) {
      return trunk.a == spec.name || trunk.b == spec.name;
    });
    if (spec.nic) {
      node.nic = link_data(*spec.nic, profiles);
      node.nics = spec.nic->count;
    } else if (cluster.network && (!on_trunk || spec.switch_name)) {
      node.nic = link_data(*cluster.network, profiles);
      node.nics = cluster.network->count;
    }
    network.nodes.push_back(std::move(node));
  }
  for (const TrunkSpec& trunk : cluster.links) {
    network.trunks.push_back({trunk.a, trunk.b, link_data(trunk.link, profiles)});
  }
  return network;
}

}  // namespace vitsim
