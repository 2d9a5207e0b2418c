#include "sim/job/sources.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "models/document/words.h"
#include "sim/job/link_figures.h"

namespace vitsim {

namespace {

void describe_compute(ResolvedJob& job, const ProfileSet& profiles) {
  // Classes that differ in nodes or links alone are one source.
  std::map<std::string, std::size_t> index;  // of gpu and detail
  std::vector<const RankClass*> kinds;
  std::vector<std::size_t> kind_of_class;
  for (const RankClass& each : job.classes) {
    const auto [entry, fresh] =
        index.try_emplace(each.gpu + "\n" + each.compute->basis.detail, kinds.size());
    if (fresh) {
      kinds.push_back(&each);
    }
    kind_of_class.push_back(entry->second);
  }
  std::vector<std::vector<std::int64_t>> ranks(kinds.size());
  for (std::size_t position = 0; position < job.world_size(); ++position) {
    ranks[kind_of_class[job.class_of[position]]].push_back(static_cast<std::int64_t>(position));
  }
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    Basis basis = kinds[kind]->compute->basis;
    basis.part = fmt::format("{} ({})", rank_list(ranks[kind]), kinds[kind]->gpu);
    if (basis.kind != "measured" && basis.kind != "interpolated") {
      job.warnings.push_back(fmt::format("{}: {}", basis.part, basis.detail));
    }
    if (const auto profile = profiles.gpus.find(kinds[kind]->gpu); profile != profiles.gpus.end()) {
      for (const std::string& note : profile->second.notes) {
        basis.detail += "; " + note;
      }
    }
    job.basis.push_back(std::move(basis));
  }
}

}  // namespace

std::vector<const LinkSpec*> crossed_links(const ResolvedJob& job, const ClusterSpec& cluster) {
  const Network& network = *job.network;
  const std::vector<std::int64_t>& ranks = job.ranks();
  if (ranks.size() < 2) {
    return {};
  }
  std::set<LinkOrigin> crossed;
  std::vector<LinkId> path;
  std::size_t node = network.node_of(ranks.front());
  const std::size_t first_node = node;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const bool closes = i + 1 == ranks.size();
    const std::int64_t next = closes ? ranks.front() : ranks[i + 1];
    const std::size_t next_node = closes ? first_node : network.node_of(next);
    if (next_node == node) {
      if (next != ranks[i]) {
        crossed.insert({.part = LinkOrigin::Part::kInsideNode, .index = node});
      }
      continue;
    }
    path.clear();
    network.append_route(ranks[i], next, path);
    for (const LinkId link : path) {
      crossed.insert(network.origin(link));
    }
    node = next_node;
  }
  const auto named = [](const std::optional<LinkSpec>& own, const std::optional<LinkSpec>& all) {
    return own ? &*own : all ? &*all : nullptr;
  };
  std::vector<const LinkSpec*> specs;
  for (const LinkOrigin& origin : crossed) {
    switch (origin.part) {
      case LinkOrigin::Part::kNic:
        specs.push_back(named(cluster.nodes[origin.index].nic, cluster.network));
        break;
      case LinkOrigin::Part::kInsideNode:
        specs.push_back(named(cluster.nodes[origin.index].intra_node, cluster.intra_node));
        break;
      case LinkOrigin::Part::kTrunk:
        specs.push_back(&cluster.links[origin.index].link);
        break;
    }
  }
  return specs;
}

void describe_sources(ResolvedJob& job,
                      const std::vector<const LinkSpec*>& crossed,
                      const ProfileSet& profiles) {
  describe_compute(job, profiles);
  describe_links(job, crossed, profiles);
}

void widen_beyond_measured(ResolvedJob& job,
                           const std::vector<const LinkSpec*>& crossed,
                           const ProfileSet& profiles) {
  const auto [least, most] = reduction_sizes(*job.full);
  if (most.value() > 0) {
    const std::int64_t ranks = job.gradient_ranks();
    widen_beyond_tables(job, crossed, profiles, ranks, least, most);
  }
}

}  // namespace vitsim
