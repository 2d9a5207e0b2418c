#include "sim/job/network_figures.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "sim/job/link_figures.h"

namespace vitsim {

namespace {

/// Figures of links; equal specifications share one curve.
class FigureBook {
 public:
  explicit FigureBook(const ProfileSet& profiles) : profiles_(profiles) {}

  const LinkData& of(const LinkSpec& spec) {
    const Key key{spec.profile.value_or(""),
                  spec.sheet.value_or(""),
                  spec.bandwidth ? spec.bandwidth->value() : 0,
                  spec.latency ? spec.latency->value() : 0};
    const auto [entry, fresh] = known_.try_emplace(key);
    if (fresh) {
      entry->second = link_data(spec, profiles_);
    }
    return entry->second;
  }

 private:
  using Key = std::tuple<std::string, std::string, double, double>;

  const ProfileSet& profiles_;
  std::map<Key, LinkData> known_;
};

}  // namespace

NetworkData network_data(const ClusterSpec& cluster, const ProfileSet& profiles) {
  FigureBook figures(profiles);
  NetworkData network{.switches = cluster.switches};
  const LinkData default_intra = cluster.intra_node ? figures.of(*cluster.intra_node)
                                                    : LinkData{.latency = kPcie3Latency,
                                                               .bandwidth = kPcie3Bandwidth,
                                                               .traits = {.kind = LinkKind::kPcie}};
  for (const NodeSpec& spec : cluster.nodes) {
    NodeData node{.name = spec.name,
                  .gpus = static_cast<std::int64_t>(spec.gpus.size()),
                  .switch_name = spec.switch_name.value_or(""),
                  .intra_node = spec.intra_node ? figures.of(*spec.intra_node) : default_intra,
                  .accelerator = accelerator_of(spec, profiles)};
    const bool on_trunk = std::ranges::any_of(cluster.links, [&](const TrunkSpec& trunk) {
      return trunk.a == spec.name || trunk.b == spec.name;
    });
    if (spec.nic) {
      node.nic = figures.of(*spec.nic);
      node.nics = spec.nic->count;
    } else if (cluster.network && (!on_trunk || spec.switch_name)) {
      node.nic = figures.of(*cluster.network);
      node.nics = cluster.network->count;
    }
    network.nodes.push_back(std::move(node));
  }
  for (const TrunkSpec& trunk : cluster.links) {
    network.trunks.push_back({trunk.a, trunk.b, figures.of(trunk.link)});
  }
  return network;
}

}  // namespace vitsim
