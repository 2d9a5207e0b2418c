#include "sim/predict/step_picture.h"

#include <algorithm>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "sim/collective/nccl_loads.h"
#include "sim/sample/step_model.h"
#include "sim/step/groups.h"

namespace vitsim {

namespace {

constexpr std::size_t kMostTracks = 32;
// Beyond this many ranks, messages are not simulated only to be drawn.
constexpr std::size_t kMostSimulatedRanks = 256;
constexpr std::size_t kMostSpans = 6000;
constexpr std::size_t kMostLinks = 256;

// Ranks to draw: all, or the first of each class, the slowest first.
std::vector<std::uint32_t> drawn_positions(const ResolvedJob& job,
                                           const std::vector<RankClassReport>& classes) {
  std::vector<std::uint32_t> positions;
  if (job.world_size() <= kMostTracks) {
    positions.resize(job.world_size());
    std::iota(positions.begin(), positions.end(), 0U);
    return positions;
  }
  std::vector<std::size_t> order(classes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, std::ranges::greater(), [&](std::size_t of) { return classes[of].compute_s; });
  order.resize(std::min(order.size(), kMostTracks));
  for (const std::size_t of : order) {
    positions.push_back(job.classes[of].first);
  }
  return positions;
}

// Bytes that each hop of a ring carries.
double ring_bytes(const Collective& collective, double ranks) {
  const double bytes = static_cast<double>(collective.bytes);
  switch (collective.kind) {
    case CollectiveKind::kAllReduce:
      return 2 * (ranks - 1) / ranks * bytes;
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllGather:
      return (ranks - 1) / ranks * bytes;
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kReduce:
    case CollectiveKind::kAllToAll:
      break;
  }
  return bytes;
}

using LinkBytes = std::vector<double>;  // by link

void add_loads(LinkBytes& links, const std::vector<LinkLoad>& loads, double bytes) {
  for (const LinkLoad& load : loads) {
    links[load.link] += load.share * bytes;
  }
}

// The collectives of one group: those of its first member, which all members make.
void add_collectives(const StepProgram& program,
                     const Communicator& group,
                     std::uint32_t axis,
                     std::uint32_t member,
                     LinkBytes& links) {
  double by_ring = 0;
  double by_tree = 0;
  double by_pairs = 0;
  for (const Operation& operation : program.of(member).operations) {
    const Collective* collective = operation.collective();
    if (collective == nullptr || collective->axis != axis) {
      continue;
    }
    if (collective->kind == CollectiveKind::kAllToAll) {
      by_pairs += static_cast<double>(collective->bytes);
    } else if (is_tree(collective->algorithm)) {
      by_tree += static_cast<double>(collective->bytes);
    } else {
      by_ring += ring_bytes(*collective, group.size());
    }
  }
  const NcclGroup ranks{.network = group.network(), .ranks = group.ranks(), .nodes = group.nodes()};
  if (by_ring > 0) {
    add_loads(links, ring_loads(ranks), by_ring);
  }
  if (by_tree > 0) {
    add_loads(links, tree_loads(ranks), by_tree);
  }
  if (by_pairs > 0) {
    add_loads(links, pairwise_loads(ranks), by_pairs);
  }
}

void add_transfers(const StepProgram& program, const ProgramGroups& groups, LinkBytes& links) {
  std::vector<LinkId> path;
  for (std::uint32_t position = 0; position < groups.positions(); ++position) {
    for (const Operation& operation : program.of(position).operations) {
      const Transfer* transfer = operation.transfer();
      if (transfer == nullptr || transfer->direction != Transfer::Direction::kSend) {
        continue;
      }
      path.clear();
      groups.network().append_route(
          groups.ranks()[position], groups.ranks()[groups.peer(*transfer, position)], path);
      for (const LinkId link : path) {
        links[link] += static_cast<double>(transfer->bytes);
      }
    }
  }
}

std::string place_name(const ResolvedJob& job, const LinkOrigin& origin) {
  return origin.part == LinkOrigin::Part::kTrunk ? fmt::format("trunk {}", origin.index + 1)
                                                 : job.network->node_name(origin.index);
}

const char* kind_name(LinkOrigin::Part part) {
  switch (part) {
    case LinkOrigin::Part::kNic:
      return "nic";
    case LinkOrigin::Part::kInsideNode:
      return "inside node";
    case LinkOrigin::Part::kTrunk:
      break;
  }
  return "trunk";
}

}  // namespace

std::vector<StepTrack> step_tracks(const ResolvedJob& job,
                                   const std::vector<RankClassReport>& classes) {
  const StepModel model(job);
  if (!model.by_classes() && job.world_size() > kMostSimulatedRanks) {
    return {};
  }
  const std::vector<std::uint32_t> drawn = drawn_positions(job, classes);
  std::vector<std::uint32_t> asked = drawn;
  if (model.by_classes()) {
    for (std::uint32_t& position : asked) {
      position = job.class_of[position];
    }
  }
  std::vector<std::uint32_t> unique = asked;
  std::ranges::sort(unique);
  unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
  std::map<std::int64_t, std::vector<StepSpan>> by_position;
  for (const Span& span : model.settled_spans(unique)) {
    by_position[span.rank].push_back({.stream = span.stream,
                                      .phase = span.phase,
                                      .begin_s = static_cast<double>(span.begin_ns) * 1e-9,
                                      .end_s = static_cast<double>(span.end_ns) * 1e-9,
                                      .straggler_wait = span.straggler_wait});
  }
  std::vector<StepTrack> tracks;
  std::size_t spans = 0;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const std::uint32_t position = drawn[i];
    const RankClass& ranks = job.rank_class(position);
    const std::vector<StepSpan>& found = by_position[asked[i]];
    spans += found.size();
    if (i > 0 && spans > kMostSpans) {
      break;
    }
    const bool for_class = drawn.size() < job.world_size() && ranks.count > 1;
    tracks.push_back(
        {.rank = position,
         .name = for_class
                     ? fmt::format("{} ranks like rank {}: {}", ranks.count, position, ranks.gpu)
                     : fmt::format("{}: {}", job.node(position), ranks.gpu),
         .spans = found});
  }
  return tracks;
}

std::vector<LinkUse> link_uses(const ResolvedJob& job, double step_s) {
  if (job.world_size() < 2) {
    return {};
  }
  const StepProgram& program = *job.full;
  const ProgramGroups groups(job.group, program);
  const LinkTable& table = job.network->links();
  LinkBytes bytes(table.size(), 0.0);
  for (std::uint32_t axis = 0; axis < program.axes.size(); ++axis) {
    for (std::uint32_t group = 0; group < groups.group_count(axis); ++group) {
      add_collectives(
          program, groups.group(axis, group), axis, groups.position(axis, group, 0), bytes);
    }
  }
  add_transfers(program, groups, bytes);
  // Of each place its most loaded link.
  std::map<LinkOrigin, LinkUse> places;
  for (LinkId link = 0; link < table.size(); ++link) {
    if (bytes[link] == 0) {
      continue;
    }
    const LinkOrigin& origin = job.network->origin(link);
    const double bandwidth = table[link].bandwidth.value();
    const double share = bytes[link] / bandwidth / step_s;
    LinkUse& use = places[origin];
    if (share > use.share) {
      use = {.name = place_name(job, origin),
             .kind = kind_name(origin.part),
             .bandwidth_bytes_per_s = bandwidth,
             .bytes = bytes[link],
             .share = share};
    }
  }
  std::vector<LinkUse> uses;
  uses.reserve(places.size());
  for (auto& [origin, use] : places) {
    uses.push_back(std::move(use));
  }
  std::ranges::stable_sort(
      uses, std::ranges::greater(), [](const LinkUse& use) { return use.share; });
  uses.resize(std::min(uses.size(), kMostLinks));
  return uses;
}

}  // namespace vitsim
