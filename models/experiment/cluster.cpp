#include "models/experiment/cluster.h"

namespace vitsim {

std::int64_t ClusterSpec::world_size() const {
  std::size_t ranks = 0;
  for (const NodeSpec& node : nodes) {
    ranks += node.gpus.size();
  }
  return static_cast<std::int64_t>(ranks);
}

std::vector<RankPlace> rank_places(const ClusterSpec& cluster) {
  std::vector<RankPlace> places;
  for (std::size_t node = 0; node < cluster.nodes.size(); ++node) {
    for (std::size_t gpu = 0; gpu < cluster.nodes[node].gpus.size(); ++gpu) {
      places.push_back({node, gpu});
    }
  }
  return places;
}

}  // namespace vitsim
