#include "sim/job/sources.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "models/document/words.h"

namespace vitsim {

namespace {

// What the ring of the job's ranks crosses; of the paths inside nodes those that nobody names are
// null.
std::vector<const LinkSpec*> crossed_links(const ResolvedJob& job, const ClusterSpec& cluster) {
  const Network& network = *job.network;
  const std::vector<std::int64_t>& ranks = job.ranks();
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

void describe_links(ResolvedJob& job,
                    const std::vector<const LinkSpec*>& crossed,
                    const ProfileSet& profiles) {
  std::set<std::string> seen;
  bool given = false;
  std::int64_t assumed = 0;  // nodes
  for (const LinkSpec* spec : crossed) {
    if (spec == nullptr) {
      ++assumed;
      continue;
    }
    if (!spec->profile) {
      given = true;
      continue;
    }
    if (!seen.insert(*spec->profile).second) {
      continue;
    }
    const LinkProfile& profile = profiles.links.at(*spec->profile);
    job.link_noise.push_back({profile.name, profile.spread});
    job.collective_overhead = std::max(job.collective_overhead, profile.collective_overhead);
    job.basis.push_back(
        {.part = fmt::format("network ({})", profile.name),
         .kind = "measured",
         .detail =
             profile.provenance.sources.empty()
                 ? "a link profile"
                 : fmt::format("AllReduces of {} recorded runs", profile.provenance.sources.size()),
         .error = profile.fit.runs > 0 ? std::optional(profile.fit.mean_abs_error) : std::nullopt});
  }
  if (given) {
    job.basis.push_back({.part = "network",
                         .kind = "given",
                         .detail = "bandwidth and latency as the file gives them, taken as exact",
                         .error = std::nullopt});
  }
  if (assumed > 0) {
    job.basis.push_back(
        {.part = "network",
         .kind = "assumed",
         .detail = fmt::format("PCIe 3.0 x16 inside {}, {:.0f} GB/s and {:.0f} us: name a profile "
                               "or figures in cluster.intra_node",
                               assumed == 1 ? "the node" : fmt::format("{} nodes", assumed),
                               kPcie3Bandwidth.value() * 1e-9,
                               kPcie3Latency.value() * 1e6),
         .error = std::nullopt});
    job.warnings.push_back(
        fmt::format("the path between {} GPUs is not calibrated: PCIe 3.0 x16 is assumed",
                    assumed == 1 ? "the node's" : "a node's"));
  }
}

void describe_compute(ResolvedJob& job) {
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
    job.basis.push_back(std::move(basis));
  }
}

}  // namespace

void describe_sources(ResolvedJob& job, const ClusterSpec& cluster, const ProfileSet& profiles) {
  describe_compute(job);
  if (job.world_size() > 1) {
    describe_links(job, crossed_links(job, cluster), profiles);
  }
}

}  // namespace vitsim
