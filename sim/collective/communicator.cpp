#include "sim/collective/communicator.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "models/error.h"
#include "sim/collective/chain_broadcast.h"
#include "sim/collective/halving_doubling.h"
#include "sim/collective/hierarchical.h"
#include "sim/collective/loaded_links.h"
#include "sim/collective/lone_run.h"
#include "sim/collective/nccl_selection.h"
#include "sim/collective/open_mpi_selection.h"
#include "sim/collective/pairwise.h"
#include "sim/collective/rails.h"
#include "sim/collective/recursive_doubling.h"
#include "sim/collective/reduce_broadcast.h"
#include "sim/collective/staged_arrays.h"
#include "sim/collective/staged_collective.h"
#include "sim/collective/tree.h"
#include "sim/collective/tree_collective.h"
#include "sim/collective/tree_estimate.h"
#include "sim/collective/uneven_ring.h"

// Why a hierarchical AllReduce is arrays too. Inside a node all ways are equal, so after N-1 steps
// of its ring every GPU of the node ends at max(start) + (N-1) hop: the GPUs of a node are together
// from there on. Between the nodes G rings run side by side; the G messages of one hop leave
// together over one path, each gets a G-th of it, and they arrive together. So one ring whose hops
// have a G-th of the bandwidth stands for all, as long as no link is crossed by hops of different
// nodes. The next collective cannot disturb it: a node sends again only when its last messages are
// delivered.

namespace vitsim {

namespace {

bool is_word_of_nccl(AllReduceAlgorithm word) {
  switch (word) {
    case AllReduceAlgorithm::kAuto:
    case AllReduceAlgorithm::kNccl:
    case AllReduceAlgorithm::kNvls:
    case AllReduceAlgorithm::kNvlsTree:
    case AllReduceAlgorithm::kCollNet:
    case AllReduceAlgorithm::kPat:
      return true;
    default:
      return false;
  }
}

std::int64_t largest(const std::vector<std::int64_t>& pieces) {
  return *std::ranges::max_element(pieces);
}

}  // namespace

Communicator::Communicator(const Network& network,
                           std::vector<std::int64_t> ranks,
                           std::vector<double> shares)
    : network_(network),
      ranks_(std::move(ranks)),
      shares_(std::move(shares)),
      ring_(network_, ranks_, ranks_.size()) {
  if (ranks_.empty()) {
    throw UserError("a collective needs at least one rank");
  }
  if (!shares_.empty()) {
    VITSIM_CHECK(shares_.size(), ==, ranks_.size());
  }
  constexpr std::uint32_t kNoGroup = 0xffffffff;
  std::vector<bool> taken(static_cast<std::size_t>(network_.world_size()));
  std::vector<std::uint32_t> group_of_node(network_.node_count(), kNoGroup);
  for (std::uint32_t position = 0; position < size(); ++position) {
    const std::int64_t rank = ranks_[position];
    std::uint32_t& group = group_of_node[network_.node_of(rank)];
    if (taken[static_cast<std::size_t>(rank)]) {
      throw UserError(fmt::format("rank {} appears twice in a group", rank));
    }
    taken[static_cast<std::size_t>(rank)] = true;
    if (group == kNoGroup) {
      group = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
    }
    nodes_[group].push_back(position);
  }
  if (can_be_hierarchical(nodes_)) {
    hierarchy_ = make_hierarchy();
  }
}

std::int64_t Communicator::even_bytes(CollectiveKind kind, std::int64_t bytes) const {
  if (!is_uneven(kind) || size() == 1) {
    return bytes;
  }
  const double busiest = 1 - *std::ranges::min_element(shares_);
  const auto n = static_cast<double>(size());
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(bytes) * busiest * n / (n - 1)));
}

Algorithm Communicator::resolve(AllReduceAlgorithm algorithm, std::int64_t bytes) const {
  return resolve(algorithm, CollectiveKind::kAllReduce, bytes);
}

Algorithm Communicator::resolve(AllReduceAlgorithm algorithm,
                                CollectiveKind kind,
                                std::int64_t bytes) const {
  const bool chooses =
      algorithm == AllReduceAlgorithm::kAuto || algorithm == AllReduceAlgorithm::kNccl;
  if (size() > 1 && (chooses || kind == CollectiveKind::kAllToAll) && nccl()->has_table(kind)) {
    return Algorithm::kMeasured;
  }
  if (kind == CollectiveKind::kAllToAll) {
    return size() > 1 && nccl()->applies() ? Algorithm::kNcclPairwise : Algorithm::kPairwise;
  }
  if (size() == 1) {
    return Algorithm::kRing;
  }
  const bool is_all_reduce = kind == CollectiveKind::kAllReduce;
  if (is_uneven(kind)) {
    return nccl()->applies() && is_word_of_nccl(algorithm)
               ? nccl()->choose_ring(kind, even_bytes(kind, bytes))
               : Algorithm::kRing;
  }
  switch (algorithm) {
    case AllReduceAlgorithm::kAuto:
    case AllReduceAlgorithm::kNccl:
      return nccl()->applies() ? nccl()->choose(kind, bytes) : Algorithm::kRing;
    case AllReduceAlgorithm::kNvls:
      return nccl_word(nodes_.size() > 1 && is_all_reduce ? Algorithm::kNvlsTree : Algorithm::kNvls,
                       kind,
                       "nvls",
                       "one node whose intra_node link has switch_reduces");
    case AllReduceAlgorithm::kNvlsTree:
      return nccl_word(nodes_.size() > 1 && is_all_reduce ? Algorithm::kNvlsTree : Algorithm::kNvls,
                       kind,
                       "nvls-tree",
                       "nodes of several GPUs whose intra_node link has switch_reduces");
    case AllReduceAlgorithm::kCollNet:
      return nccl_word(is_all_reduce ? Algorithm::kCollNet : Algorithm::kNcclRingSimple,
                       kind,
                       "collnet",
                       "several nodes on a network whose link sheet has switch_reduces");
    case AllReduceAlgorithm::kPat:
      return nccl_word(is_chain(kind) ? Algorithm::kNcclRingSimple : Algorithm::kPat,
                       kind,
                       "pat",
                       "one GPU in each node");
    default:
      break;
  }
  if (!is_all_reduce) {
    return Algorithm::kRing;
  }
  switch (algorithm) {
    case AllReduceAlgorithm::kTree:
      return Algorithm::kTree;
    case AllReduceAlgorithm::kHalvingDoubling:
      return Algorithm::kHalvingDoubling;
    case AllReduceAlgorithm::kHierarchical: {
      const bool possible =
          can_be_hierarchical(nodes_) && nodes_.size() > 1 && nodes_[0].size() > 1;
      return possible ? Algorithm::kHierarchical : Algorithm::kRing;
    }
    case AllReduceAlgorithm::kOpenMpi:
      return open_mpi_algorithm(size(), bytes);
    default:
      return Algorithm::kRing;
  }
}

Algorithm Communicator::nccl_word(Algorithm algorithm,
                                  CollectiveKind kind,
                                  std::string_view word,
                                  std::string_view needs) const {
  if (!nccl()->applies()) {
    throw UserError(
        fmt::format("{} is NCCL's, between GPUs on links with figures or data sheets; "
                    "a measured link holds what was measured: use \"auto\" or \"ring\"",
                    word));
  }
  if (!nccl()->call(kind, algorithm, 1)) {
    throw UserError(fmt::format("{} needs {}; use \"auto\" or \"ring\" here", word, needs));
  }
  return algorithm;
}

std::shared_ptr<const NcclModel> Communicator::nccl() const {
  const std::lock_guard lock(nccl_->mutex);
  const std::uint64_t changes = network_.links().changes();
  if (nccl_->model == nullptr || nccl_->changes != changes) {
    nccl_->model = std::make_shared<const NcclModel>(
        NcclGroup{.network = network_, .ranks = ranks_, .nodes = nodes_});
    nccl_->changes = changes;
  }
  return nccl_->model;
}

std::uint32_t Communicator::rails() const {
  return rails_of({.network = network_, .ranks = ranks_, .nodes = nodes_});
}

Hops Communicator::ring_hops() const {
  return ring_.are_current(network_.links()) ? ring_ : Hops(network_, ranks_, ranks_.size());
}

Communicator::Hierarchy Communicator::make_hierarchy() const {
  const std::size_t gpus = nodes_[0].size();
  std::vector<std::uint32_t> inside;
  std::vector<std::int64_t> inside_ranks;
  for (const std::vector<std::uint32_t>& node : nodes_) {
    for (const std::uint32_t position : node) {
      inside.push_back(position);
      inside_ranks.push_back(ranks_[position]);
    }
  }
  std::vector<std::uint32_t> between;
  std::vector<std::int64_t> first_ranks;
  for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
    for (const std::vector<std::uint32_t>& node : nodes_) {
      between.push_back(node[gpu]);
      if (gpu == 0) {
        first_ranks.push_back(ranks_[node[0]]);
      }
    }
  }
  return {.inside = std::make_shared<const std::vector<std::uint32_t>>(std::move(inside)),
          .between = std::make_shared<const std::vector<std::uint32_t>>(std::move(between)),
          .inside_hops = Hops(network_, inside_ranks, gpus),
          .between_hops = Hops(network_, first_ranks, nodes_.size())};
}

std::optional<ArrayCollective> Communicator::arrays(CollectiveKind kind,
                                                    Algorithm algorithm,
                                                    std::int64_t bytes) const {
  if (size() == 1 || bytes == 0) {
    return ArrayCollective();
  }
  if (is_nccl(algorithm)) {
    return ArrayCollective::together(nccl_call(kind, algorithm, bytes).duration());
  }
  if (kind == CollectiveKind::kAllToAll) {
    return std::nullopt;
  }
  if (kind != CollectiveKind::kAllReduce || algorithm == Algorithm::kRing) {
    return ring_arrays(kind, bytes);
  }
  if (algorithm == Algorithm::kHierarchical) {
    return hierarchical_arrays(bytes);
  }
  return std::nullopt;
}

std::optional<ArrayCollective> Communicator::ring_arrays(CollectiveKind kind,
                                                         std::int64_t bytes) const {
  if (!ring_.are_alone()) {
    return std::nullopt;
  }
  const LinkTable& links = network_.links();
  const Hops hops = ring_hops();
  ArrayCollective result;
  if (is_chain(kind)) {
    const TreePlan plan = chain_broadcast_plan(size(), bytes);
    std::vector<Tick> hop = hops.ticks(links, plan.chunk_bytes, 1);
    hop.pop_back();  // nothing goes from the last position to the first
    result.chain_.emplace(std::move(hop), plan.chunks);
    return result;
  }
  // A ring for each NIC: they share the ways inside the nodes, and trunks, and run alike.
  const std::int64_t n = size();
  const std::int64_t laps = kind == CollectiveKind::kAllReduce ? 2 : 1;
  const std::uint32_t rings = rails();
  const auto hops_of = [&](std::int64_t message) {
    return hops.ticks(links, message, rings, rings);
  };
  std::int64_t message = divide_up(divide_up(bytes, rings), n);
  if (is_uneven(kind)) {
    const std::vector<std::int64_t> pieces = pieces_of(shares_, divide_up(bytes, rings));
    if (size() <= kMostRanksOfUnevenRings) {
      result.uneven_.emplace(kind, pieces, hops_of);
      return result;
    }
    message = largest(pieces);
  }
  result.add_rings(hops_of(message), laps * (n - 1), size(), 1, nullptr);
  return result;
}

std::optional<ArrayCollective> Communicator::hierarchical_arrays(std::int64_t bytes) const {
  const LinkTable& links = network_.links();
  if (!hierarchy_ || !hierarchy_->between_hops.are_alone()) {
    return std::nullopt;
  }
  if (!ring_.are_current(links)) {
    return Communicator(network_, ranks_).hierarchical_arrays(bytes);
  }
  const std::size_t gpus = nodes_[0].size();
  const std::size_t machines = nodes_.size();
  const std::int64_t shard = divide_up(bytes, static_cast<std::int64_t>(gpus));
  ArrayCollective result;
  const auto ring_inside = [&] {
    if (gpus > 1) {
      result.add_rings(hierarchy_->inside_hops.ticks(links, shard, 1),
                       static_cast<std::int64_t>(gpus) - 1,
                       gpus,
                       1,
                       hierarchy_->inside);
    }
  };
  ring_inside();
  if (machines > 1) {
    const auto rounds = static_cast<std::int64_t>(machines);
    const std::size_t nics = std::min<std::size_t>(rails(), gpus);
    if (gpus % nics != 0) {
      return std::nullopt;  // some GPUs share a NIC with more others than the rest
    }
    result.add_rings(hierarchy_->between_hops.ticks(links, divide_up(shard, rounds), gpus, nics),
                     2 * (rounds - 1),
                     machines,
                     gpus,
                     hierarchy_->between);
  }
  ring_inside();
  return result;
}

std::optional<ArrayCollective> Communicator::arrays_or_estimate(CollectiveKind kind,
                                                                Algorithm algorithm,
                                                                std::int64_t bytes) const {
  std::optional<ArrayCollective> result = arrays(kind, algorithm, bytes);
  if (result || kind != CollectiveKind::kAllReduce || algorithm != Algorithm::kTree ||
      size() <= kMostRanksOfExactTrees || rails() > 1) {
    return result;
  }
  if (const std::optional<Tick> time = estimated_tree_time(network_, ranks_, nodes_, bytes)) {
    result.emplace();
    result->estimate_ = time;
  }
  return result;
}

std::unique_ptr<EventCollective> Communicator::events(StreamSet& streams,
                                                      CollectiveKind kind,
                                                      Algorithm algorithm,
                                                      std::int64_t bytes,
                                                      CollectiveListener& done,
                                                      std::uint32_t collective) const {
  const auto staged = [&](StagedPlan plan) {
    return make_staged_collective(streams, std::move(plan), done, collective);
  };
  const auto trees = [&](TreePlan plan) {
    return make_tree_collective(streams, std::move(plan), done, collective);
  };
  if (size() == 1 || bytes == 0) {
    return staged({.ranks = size(), .stages = 0});
  }
  if (is_nccl(algorithm)) {
    NcclCall call = nccl_call(kind, algorithm, bytes);
    return make_loaded_collective(
        streams, std::move(call.links), call.wire_bytes, call.fixed, done, collective);
  }
  if (is_chain(kind)) {
    return trees(chain_broadcast_plan(size(), bytes));
  }
  if (kind == CollectiveKind::kAllToAll) {
    return staged(pairwise_plan(size(), bytes));
  }
  if (kind != CollectiveKind::kAllReduce || algorithm == Algorithm::kRing) {
    const std::uint32_t rings = rails();
    StagedPlan ring = plan_of_ring(kind, divide_up(bytes, rings));
    if (rings == 1) {
      return staged(std::move(ring));
    }
    std::vector<StagedPlan> plans(rings, ring);
    return make_rail_collective(streams, std::move(plans), done, collective);
  }
  switch (algorithm) {
    case Algorithm::kTree:
      return trees(double_tree_plan(nodes_, bytes, rails()));
    case Algorithm::kHalvingDoubling:
      return staged(halving_doubling_plan(size(), bytes));
    case Algorithm::kHierarchical:
      return staged(hierarchical_plan(nodes_, bytes));
    case Algorithm::kRecursiveDoubling:
      return staged(recursive_doubling_plan(size(), bytes));
    case Algorithm::kReduceBroadcast:
      return trees(reduce_broadcast_plan(size(), bytes));
    default:
      break;
  }
  throw InternalError("unknown algorithm");
}

StagedPlan Communicator::plan_of_ring(CollectiveKind kind, std::int64_t bytes) const {
  if (!is_uneven(kind)) {
    return ring_plan(kind, size(), bytes);
  }
  const std::vector<std::int64_t> pieces = pieces_of(shares_, bytes);
  return size() <= kMostRanksOfUnevenRings ? uneven_ring_plan(kind, pieces)
                                           : ring_plan(kind, size(), largest(pieces) * size());
}

NcclCall Communicator::nccl_call(CollectiveKind kind,
                                 Algorithm algorithm,
                                 std::int64_t bytes) const {
  auto call = nccl()->call(kind, algorithm, even_bytes(kind, bytes));
  if (!call) {
    throw UserError(
        fmt::format("{} by {} is not possible among these ranks", name(kind), name(algorithm)));
  }
  return std::move(*call);
}

std::vector<Tick> Communicator::run(CollectiveKind kind,
                                    Algorithm algorithm,
                                    std::int64_t bytes,
                                    std::span<const Tick> starts) const {
  if (std::optional<ArrayCollective> fast = arrays(kind, algorithm, bytes)) {
    std::vector<Tick> ends(starts.size());
    fast->run(starts, ends);
    return ends;
  }
  if (std::optional<std::vector<Tick>> ends = run_stages(kind, algorithm, bytes, starts)) {
    return *std::move(ends);
  }
  return run_events(kind, algorithm, bytes, starts);
}

std::optional<std::vector<Tick>> Communicator::run_stages(CollectiveKind kind,
                                                          Algorithm algorithm,
                                                          std::int64_t bytes,
                                                          std::span<const Tick> starts) const {
  if (kind != CollectiveKind::kAllReduce ||
      (algorithm != Algorithm::kHalvingDoubling && algorithm != Algorithm::kRecursiveDoubling)) {
    return std::nullopt;
  }
  StagedArrays stages(network_,
                      ranks_,
                      algorithm == Algorithm::kHalvingDoubling
                          ? halving_doubling_plan(size(), bytes)
                          : recursive_doubling_plan(size(), bytes));
  std::vector<Tick> ends(starts.size());
  return stages.run(starts, ends) ? std::optional(std::move(ends)) : std::nullopt;
}

std::optional<Tick> Communicator::time_together(CollectiveKind kind,
                                                Algorithm algorithm,
                                                std::int64_t bytes) const {
  if (size() == 1 || bytes == 0) {
    return 0;
  }
  const std::vector<Tick> starts(size());
  std::vector<Tick> ends(size());
  if (std::optional<ArrayCollective> fast = arrays(kind, algorithm, bytes)) {
    if (const std::optional<Tick> time = fast->uniform()) {
      return time;
    }
    fast->run(starts, ends);
  } else if (const auto staged = run_stages(kind, algorithm, bytes, starts)) {
    ends = *staged;
  } else {
    return std::nullopt;
  }
  const auto [first, last] = std::minmax_element(ends.begin(), ends.end());
  return *first == *last ? std::optional(*last) : std::nullopt;
}

std::vector<Tick> Communicator::run_events(CollectiveKind kind,
                                           Algorithm algorithm,
                                           std::int64_t bytes,
                                           std::span<const Tick> starts) const {
  VITSIM_CHECK(starts.size(), ==, ranks_.size());
  FlowEngine engine(network_.links());
  StreamSet streams(engine, network_, ranks_);
  return run_alone(engine, name(kind), starts, [&](CollectiveListener& done) {
    return events(streams, kind, algorithm, bytes, done, 0);
  });
}

std::vector<Tick> all_reduce(const Network& network,
                             std::span<const std::int64_t> ranks,
                             std::int64_t bytes,
                             AllReduceAlgorithm algorithm,
                             std::span<const Tick> starts) {
  const Communicator group(network, {ranks.begin(), ranks.end()});
  return group.run(CollectiveKind::kAllReduce, group.resolve(algorithm, bytes), bytes, starts);
}

}  // namespace vitsim
