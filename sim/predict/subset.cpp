#include "sim/predict/subset.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "models/error.h"
#include "models/experiment/epoch.h"
#include "sim/job/resolve.h"

namespace vitsim {

namespace {

bool is_list(const TrainingSpec& training) {
  return training.micro_batch.size() > 1;
}

}  // namespace

Experiment first_ranks(const Experiment& experiment, std::int64_t ranks, bool weak) {
  const std::int64_t world = experiment.cluster.world_size();
  if (!experiment.jobs.empty()) {
    throw UserError("scaling needs one training: this file has \"jobs\"");
  }
  if (ranks < 1 || ranks > world) {
    throw UserError(fmt::format("{} GPUs asked for: the cluster has {}", ranks, world));
  }
  Experiment part = experiment;
  if (weak) {
    check_samples(experiment);
    const std::int64_t subset =
        subset_samples(experiment.training.dataset.samples, experiment.training.dataset.fraction);
    part.training.dataset.samples = std::max<std::int64_t>(1, subset * ranks / world);
    part.training.dataset.fraction = 1;
  }
  std::int64_t left = ranks;
  part.cluster.nodes.clear();
  for (NodeSpec node : experiment.cluster.nodes) {
    if (left <= 0) {
      break;
    }
    const auto keep = std::min(node.gpus.size(), static_cast<std::size_t>(left));
    node.gpus.resize(keep);
    left -= static_cast<std::int64_t>(keep);
    part.cluster.nodes.push_back(std::move(node));
  }
  if (is_list(part.training)) {
    part.training.micro_batch.resize(static_cast<std::size_t>(ranks));
  }
  std::vector<double>& shards = part.training.parallelism.shards.proportions;
  if (!shards.empty()) {
    shards.resize(static_cast<std::size_t>(ranks));
    if (std::ranges::all_of(shards, [](double share) { return share == 0; })) {
      throw UserError(fmt::format(
          "training.parallelism.shards: the first {} ranks hold nothing of the model; write "
          "\"by-memory\" or \"even\" to scale it",
          ranks));
    }
  }
  const auto known_node = [&](const std::string& name) {
    const bool was_node = std::ranges::any_of(
        experiment.cluster.nodes, [&](const NodeSpec& node) { return node.name == name; });
    return !was_node || std::ranges::any_of(part.cluster.nodes, [&](const NodeSpec& node) {
      return node.name == name;
    });
  };
  std::erase_if(part.cluster.links, [&](const TrunkSpec& trunk) {
    return !known_node(trunk.a) || !known_node(trunk.b);
  });
  std::erase_if(part.events, [&](const DisturbanceSpec& event) {
    if (event.what != DisturbanceSpec::What::kLink) {
      return event.rank >= ranks;
    }
    return (!event.node.empty() && !known_node(event.node)) ||
           !std::ranges::all_of(event.ends, known_node);
  });
  return part;
}

Experiment fastest_first(const Experiment& experiment, const ProfileSet& profiles) {
  const TrainingSpec& training = experiment.training;
  const std::vector<RankPlace> places = rank_places(experiment.cluster);
  std::vector<double> seconds;  // per sample, by old rank
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    const GpuSpec& gpu = experiment.cluster.nodes[places[rank].node].gpus[places[rank].gpu];
    const std::int64_t batch = training.micro_batch[is_list(training) ? rank : 0];
    const auto times = make_compute_model(gpu.model, training, batch, profiles)->at(batch);
    seconds.push_back(gpu.slowdown * (times.forward + times.backward).value() /
                      static_cast<double>(batch));
  }
  // Old ranks node by node, each node's in order of speed, nodes by their fastest.
  std::vector<std::vector<std::size_t>> by_node(experiment.cluster.nodes.size());
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    by_node[places[rank].node].push_back(rank);
  }
  const auto faster = [&](std::size_t a, std::size_t b) { return seconds[a] < seconds[b]; };
  for (auto& ranks : by_node) {
    std::ranges::stable_sort(ranks, faster);
  }
  std::vector<std::size_t> order(by_node.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return faster(by_node[a].front(), by_node[b].front());
  });

  Experiment sorted = experiment;
  sorted.cluster.nodes.clear();
  std::vector<std::int64_t> new_rank(places.size());
  std::int64_t next = 0;
  for (const std::size_t index : order) {
    NodeSpec node = experiment.cluster.nodes[index];
    const std::vector<GpuSpec> gpus = node.gpus;
    node.gpus.clear();
    for (const std::size_t rank : by_node[index]) {
      node.gpus.push_back(gpus[places[rank].gpu]);
      new_rank[rank] = next++;
    }
    sorted.cluster.nodes.push_back(std::move(node));
  }
  for (DisturbanceSpec& event : sorted.events) {
    event.rank = new_rank[static_cast<std::size_t>(event.rank)];
  }
  std::vector<double>& shards = sorted.training.parallelism.shards.proportions;
  for (std::size_t rank = 0; rank < shards.size(); ++rank) {
    shards[static_cast<std::size_t>(new_rank[rank])] =
        training.parallelism.shards.proportions[rank];
  }
  if (is_list(training)) {
    for (std::size_t rank = 0; rank < places.size(); ++rank) {
      sorted.training.micro_batch[static_cast<std::size_t>(new_rank[rank])] =
          training.micro_batch[rank];
    }
  }
  return sorted;
}

}  // namespace vitsim
