#include "sim/collective/communicator.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"
#include "sim/collective/chain_broadcast.h"
#include "sim/collective/halving_doubling.h"
#include "sim/collective/hierarchical.h"
#include "sim/collective/loaded_links.h"
#include "sim/collective/nccl_selection.h"
#include "sim/collective/open_mpi_selection.h"
#include "sim/collective/pairwise.h"
#include "sim/collective/recursive_doubling.h"
#include "sim/collective/reduce_broadcast.h"
#include "sim/collective/ring.h"
#include "sim/collective/staged_collective.h"
#include "sim/collective/tree.h"
#include "sim/collective/tree_collective.h"

// Why a hierarchical AllReduce is arrays too. Inside a node all ways are equal, so after N-1 steps
// of its ring every GPU of the node ends at max(start) + (N-1) hop: the GPUs of a node are together
// from there on. Between the nodes G rings run side by side; the G messages of one hop leave
// together over one path, each gets a G-th of it, and they arrive together. So one ring whose hops
// have a G-th of the bandwidth stands for all, as long as no link is crossed by hops of different
// nodes. The next collective cannot disturb it: a node sends again only when its last messages are
// delivered.

namespace vitsim {

namespace {

std::vector<std::uint32_t> identity(std::size_t n) {
  std::vector<std::uint32_t> order(n);
  for (std::size_t i = 0; i < n; ++i) {
    order[i] = static_cast<std::uint32_t>(i);
  }
  return order;
}

/// Notes the end of every position of one collective.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): never deleted by its base.
class EndRecorder final : public CollectiveListener, public EventHandler {
 public:
  EndRecorder(FlowEngine& engine, std::size_t positions) : engine_(engine), ends_(positions) {}

  void collective_done(std::uint32_t /*collective*/, std::uint32_t position) override {
    ends_[position] = engine_.now();
    ++done_;
  }

  void on_event(std::uint32_t position) override { collective_->start(position); }

  void set_collective(EventCollective& collective) { collective_ = &collective; }

  [[nodiscard]] std::size_t done() const { return done_; }

  [[nodiscard]] const std::vector<Tick>& ends() const { return ends_; }

 private:
  FlowEngine& engine_;
  EventCollective* collective_ = nullptr;
  std::vector<Tick> ends_;
  std::size_t done_ = 0;
};

}  // namespace

void ArrayCollective::run(std::span<const Tick> starts, std::span<Tick> ends) {
  if (together_) {
    const Tick end = *std::max_element(starts.begin(), starts.end()) + *together_;
    check_clock(end);
    std::fill(ends.begin(), ends.end(), end);
    return;
  }
  if (phases_.empty()) {
    std::copy(starts.begin(), starts.end(), ends.begin());
    return;
  }
  for (const RingPhase& phase : phases_) {
    const std::span<const Tick> begin = &phase == phases_.data() ? starts : ends;
    const std::size_t n = phase.ring_size;
    from_.resize(n);
    to_.resize(n);
    for (std::size_t first = 0; first < phase.order.size(); first += n * phase.copies) {
      for (std::size_t i = 0; i < n; ++i) {
        from_[i] = begin[phase.order[first + i]];
      }
      ring_ends(
          std::span(phase.hop).subspan(first / phase.copies, n), phase.steps, from_, to_, scratch_);
      for (std::size_t i = 0; i < n * phase.copies; ++i) {
        ends[phase.order[first + i]] = to_[i % n];
      }
    }
  }
}

ArrayCollective ArrayCollective::together(Tick duration) {
  ArrayCollective collective;
  collective.together_ = duration;
  return collective;
}

std::optional<Tick> ArrayCollective::uniform() const {
  if (together_) {
    return together_;
  }
  if (phases_.empty()) {
    return std::nullopt;
  }
  Tick sum = 0;
  for (const RingPhase& phase : phases_) {
    const auto [least, largest] = std::minmax_element(phase.hop.begin(), phase.hop.end());
    if (*least != *largest) {
      return std::nullopt;
    }
    sum += phase.steps * *largest;
  }
  return sum;
}

Communicator::Communicator(const Network& network, std::vector<std::int64_t> ranks)
    : network_(network), ranks_(std::move(ranks)) {
  if (ranks_.empty()) {
    throw UserError("a collective needs at least one rank");
  }
  std::vector<std::int64_t> sorted = ranks_;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    throw UserError(fmt::format("rank {} appears twice in a group", *twice));
  }
  std::unordered_map<std::size_t, std::size_t> group_of_node;
  for (std::uint32_t position = 0; position < size(); ++position) {
    const std::size_t node = network_.node_of(ranks_[position]);
    const auto [found, fresh] = group_of_node.try_emplace(node, nodes_.size());
    if (fresh) {
      nodes_.emplace_back();
    }
    nodes_[found->second].push_back(position);
  }
  ring_ = ring_hops(identity(size()), size());
}

Algorithm Communicator::resolve(AllReduceAlgorithm algorithm, std::int64_t bytes) const {
  return resolve(algorithm, CollectiveKind::kAllReduce, bytes);
}

Algorithm Communicator::resolve(AllReduceAlgorithm algorithm,
                                CollectiveKind kind,
                                std::int64_t bytes) const {
  if (kind == CollectiveKind::kAllToAll) {
    return size() > 1 && nccl().applies() ? Algorithm::kNcclPairwise : Algorithm::kPairwise;
  }
  if (size() == 1) {
    return Algorithm::kRing;
  }
  const bool is_all_reduce = kind == CollectiveKind::kAllReduce;
  switch (algorithm) {
    case AllReduceAlgorithm::kAuto:
    case AllReduceAlgorithm::kNccl:
      return nccl().applies() ? nccl().choose(kind, bytes) : Algorithm::kRing;
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
      return nccl_word(
          kind == CollectiveKind::kBroadcast ? Algorithm::kNcclRingSimple : Algorithm::kPat,
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
  if (!nccl().applies()) {
    throw UserError(
        fmt::format("{} is NCCL's, between GPUs on links with figures or data sheets; "
                    "a measured link holds what was measured: use \"auto\" or \"ring\"",
                    word));
  }
  if (!nccl().call(kind, algorithm, 1)) {
    throw UserError(fmt::format("{} needs {}; use \"auto\" or \"ring\" here", word, needs));
  }
  return algorithm;
}

const NcclModel& Communicator::nccl() const {
  std::call_once(nccl_->once, [&] {
    nccl_->model = std::make_unique<const NcclModel>(
        NcclGroup{.network = network_, .ranks = ranks_, .nodes = nodes_});
  });
  return *nccl_->model;
}

Communicator::Hops Communicator::ring_hops(const std::vector<std::uint32_t>& order,
                                           std::size_t ring_size) const {
  Hops hops;
  for (std::size_t first = 0; first < order.size() && ring_size > 1; first += ring_size) {
    for (std::size_t i = 0; i < ring_size; ++i) {
      network_.append_route(
          ranks_[order[first + i]], ranks_[order[first + (i + 1) % ring_size]], hops.links);
      hops.first.push_back(hops.links.size());
    }
  }
  std::vector<LinkId> sorted = hops.links;
  std::sort(sorted.begin(), sorted.end());
  hops.alone = std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  return hops;
}

std::vector<Tick> Communicator::hop_ticks(const Hops& hops,
                                          std::int64_t bytes,
                                          std::size_t copies) const {
  const LinkTable& links = network_.links();
  std::vector<Tick> ticks(hops.first.size() - 1);
  for (std::size_t hop = 0; hop < ticks.size(); ++hop) {
    const LinkFigures alone = links.figures(hops.path(hop), bytes);
    double rate = alone.bandwidth.value();
    for (const LinkId link : hops.path(hop)) {
      rate = std::min(rate, links[link].bandwidth.value() / static_cast<double>(copies));
    }
    ticks[hop] = to_ticks(alone.latency) + transfer_ticks(bytes, BytesPerSecond(rate));
  }
  return ticks;
}

std::optional<ArrayCollective> Communicator::arrays(CollectiveKind kind,
                                                    Algorithm algorithm,
                                                    std::int64_t bytes) const {
  ArrayCollective result;
  if (size() == 1 || bytes == 0) {
    return result;
  }
  if (is_nccl(algorithm)) {
    return ArrayCollective::together(nccl_call(kind, algorithm, bytes).duration());
  }
  if (kind == CollectiveKind::kBroadcast || kind == CollectiveKind::kAllToAll) {
    return std::nullopt;
  }
  const bool is_all_reduce = kind == CollectiveKind::kAllReduce;
  if (is_all_reduce && algorithm == Algorithm::kHierarchical) {
    return hierarchical_arrays(bytes);
  }
  if ((is_all_reduce && algorithm != Algorithm::kRing) || !ring_.alone) {
    return std::nullopt;
  }
  const std::int64_t n = size();
  result.phases_.push_back({.order = identity(size()),
                            .hop = hop_ticks(ring_, divide_up(bytes, n), 1),
                            .ring_size = size(),
                            .steps = (is_all_reduce ? 2 : 1) * (n - 1)});
  return result;
}

std::optional<ArrayCollective> Communicator::hierarchical_arrays(std::int64_t bytes) const {
  const std::size_t gpus = nodes_[0].size();
  const std::size_t machines = nodes_.size();
  std::vector<std::uint32_t> inside;
  for (const std::vector<std::uint32_t>& node : nodes_) {
    inside.insert(inside.end(), node.begin(), node.end());
  }
  std::vector<std::uint32_t> between;
  for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
    for (const std::vector<std::uint32_t>& node : nodes_) {
      between.push_back(node[gpu]);
    }
  }
  const Hops inside_hops = ring_hops(inside, gpus);
  const Hops between_hops = ring_hops(
      std::vector(between.begin(), between.begin() + static_cast<std::ptrdiff_t>(machines)),
      machines);
  if (!between_hops.alone) {
    return std::nullopt;
  }
  const std::int64_t shard = divide_up(bytes, static_cast<std::int64_t>(gpus));
  ArrayCollective result;
  const ArrayCollective::RingPhase scatter{.order = inside,
                                           .hop = hop_ticks(inside_hops, shard, 1),
                                           .ring_size = gpus,
                                           .steps = static_cast<std::int64_t>(gpus) - 1};
  if (gpus > 1) {
    result.phases_.push_back(scatter);
  }
  if (machines > 1) {
    const auto rounds = static_cast<std::int64_t>(machines);
    result.phases_.push_back({.order = between,
                              .hop = hop_ticks(between_hops, divide_up(shard, rounds), gpus),
                              .ring_size = machines,
                              .steps = 2 * (rounds - 1),
                              .copies = gpus});
  }
  if (gpus > 1) {
    result.phases_.push_back(scatter);
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
  if (kind == CollectiveKind::kBroadcast) {
    return trees(chain_broadcast_plan(size(), bytes));
  }
  if (kind == CollectiveKind::kAllToAll) {
    return staged(pairwise_plan(size(), bytes));
  }
  if (kind != CollectiveKind::kAllReduce) {
    return staged(ring_plan(kind, size(), bytes));
  }
  switch (algorithm) {
    case Algorithm::kRing:
      return staged(ring_plan(kind, size(), bytes));
    case Algorithm::kTree:
      return trees(double_tree_plan(nodes_, bytes));
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

NcclCall Communicator::nccl_call(CollectiveKind kind,
                                 Algorithm algorithm,
                                 std::int64_t bytes) const {
  auto call = nccl().call(kind, algorithm, bytes);
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
  return run_events(kind, algorithm, bytes, starts);
}

std::vector<Tick> Communicator::run_events(CollectiveKind kind,
                                           Algorithm algorithm,
                                           std::int64_t bytes,
                                           std::span<const Tick> starts) const {
  VITSIM_CHECK(starts.size(), ==, ranks_.size());
  FlowEngine engine(network_.links());
  StreamSet streams(engine, network_, ranks_);
  EndRecorder recorder(engine, ranks_.size());
  const auto collective = events(streams, kind, algorithm, bytes, recorder, 0);
  recorder.set_collective(*collective);
  const HandlerId handler = engine.add_handler(recorder);
  for (std::uint32_t position = 0; position < size(); ++position) {
    engine.at(starts[position], handler, position);
  }
  engine.run();
  if (recorder.done() != ranks_.size()) {
    throw InternalError(
        fmt::format("{} does not end: {}", name(kind), fmt::join(collective->waiting(), "; ")));
  }
  return recorder.ends();
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
