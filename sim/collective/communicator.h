#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "sim/collective/algorithm.h"
#include "sim/collective/array_collective.h"
#include "sim/collective/event_collective.h"
#include "sim/collective/hops.h"
#include "sim/collective/nccl_selection.h"
#include "sim/collective/plan.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// Up to here trees are simulated message by message.
inline constexpr std::uint32_t kMostRanksOfExactTrees = 256;

/// Ranks that communicate: a group of the cluster's ranks in ring order.
///
/// Where they hold shards of unequal size, AllGathers and ReduceScatters are of such pieces. No
/// library has a collective for that: PyTorch's NCCL backend sends a group of broadcasts, or of
/// reductions, one for each piece, and NCCL does those by rings, whose busiest link carries all
/// pieces but the smallest. Between CPUs it is MPI's Allgatherv (uneven_ring.h).
class Communicator {
 public:
  /// `shares`, by position, add up to 1; none where all shards are equal. Throws UserError where a
  /// rank does not exist or appears twice. `network` must outlive it.
  Communicator(const Network& network,
               std::vector<std::int64_t> ranks,
               std::vector<double> shares = {});

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(ranks_.size()); }

  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return ranks_; }

  [[nodiscard]] const Network& network() const { return network_; }

  [[nodiscard]] const NodeGroups& nodes() const { return nodes_; }

  /// Whether such a collective is of pieces that differ in size.
  [[nodiscard]] bool is_uneven(CollectiveKind kind) const {
    return !shares_.empty() &&
           (kind == CollectiveKind::kAllGather || kind == CollectiveKind::kReduceScatter);
  }

  /// The bytes of a collective of equal pieces that loads the busiest hop of a ring as much.
  [[nodiscard]] std::int64_t even_bytes(CollectiveKind kind, std::int64_t bytes) const;

  /// From each position to the next, as the network is now.
  [[nodiscard]] Hops ring_hops() const;

  /// The algorithm that the user's word stands for at this size; libraries choose by size and
  /// world. Hierarchical needs the same number of ranks on every node and more than one each and
  /// more than one node; elsewhere it is a ring.
  [[nodiscard]] Algorithm resolve(AllReduceAlgorithm algorithm, std::int64_t bytes) const;

  /// The same for any collective. Where a word means nothing for it, reduce-scatter and all-gather
  /// are rings and broadcast is a chain. Throws UserError where the cluster has not what NVLS,
  /// NVLSTree, CollNet or PAT need.
  [[nodiscard]] Algorithm resolve(AllReduceAlgorithm algorithm,
                                  CollectiveKind kind,
                                  std::int64_t bytes) const;

  /// NCCL's costs among these ranks; made at first use, and anew when a link has changed.
  [[nodiscard]] std::shared_ptr<const NcclModel> nccl() const;

  /// How many rings lie side by side: one for each NIC of the node with the fewest, 1 in one node.
  [[nodiscard]] std::uint32_t rails() const;

  /// The fast path where it is exact, else nothing.
  [[nodiscard]] std::optional<ArrayCollective> arrays(CollectiveKind kind,
                                                      Algorithm algorithm,
                                                      std::int64_t bytes) const;

  /// The same, and beyond it an estimate for trees over more than `kMostRanksOfExactTrees` ranks,
  /// whose `is_exact` is false. Nothing where only the event level can tell.
  [[nodiscard]] std::optional<ArrayCollective> arrays_or_estimate(CollectiveKind kind,
                                                                  Algorithm algorithm,
                                                                  std::int64_t bytes) const;

  /// The same at event level. Reduce-scatter and all-gather are rings, broadcast is a chain from
  /// position 0, whatever the algorithm.
  [[nodiscard]] std::unique_ptr<EventCollective> events(StreamSet& streams,
                                                        CollectiveKind kind,
                                                        Algorithm algorithm,
                                                        std::int64_t bytes,
                                                        CollectiveListener& done,
                                                        std::uint32_t collective) const;

  /// Ends of one collective that is alone on the network, by arrays where they are exact, else by
  /// events. One rank, or no bytes: nothing is sent, everybody ends at its start.
  [[nodiscard]] std::vector<Tick> run(CollectiveKind kind,
                                      Algorithm algorithm,
                                      std::int64_t bytes,
                                      std::span<const Tick> starts) const;

  /// `run` for halving-doubling and recursive doubling without events, where the starts allow it
  /// (staged_arrays.h); else nothing.
  [[nodiscard]] std::optional<std::vector<Tick>> run_stages(CollectiveKind kind,
                                                            Algorithm algorithm,
                                                            std::int64_t bytes,
                                                            std::span<const Tick> starts) const;

  /// What everybody takes who starts together with all others, if all then end together too; else
  /// nothing. Of use where ranks are equal, and for whole sequences of collectives: nobody is ever
  /// early or late. Rings over equal links, hierarchical over equal nodes, exchanges among a power
  /// of two of equal ranks; trees only as an estimate (`arrays_or_estimate`).
  [[nodiscard]] std::optional<Tick> time_together(CollectiveKind kind,
                                                  Algorithm algorithm,
                                                  std::int64_t bytes) const;

  /// `run` at event level always.
  [[nodiscard]] std::vector<Tick> run_events(CollectiveKind kind,
                                             Algorithm algorithm,
                                             std::int64_t bytes,
                                             std::span<const Tick> starts) const;

 private:
  /// The two kinds of rings of a hierarchical AllReduce.
  struct Hierarchy {
    ArrayCollective::Order inside;   // positions node by node
    ArrayCollective::Order between;  // positions by index in their node
    Hops inside_hops;
    Hops between_hops;  // of the first index
  };

  [[nodiscard]] Hierarchy make_hierarchy() const;
  [[nodiscard]] std::optional<ArrayCollective> ring_arrays(CollectiveKind kind,
                                                           std::int64_t bytes) const;

  /// An algorithm that the user named; throws UserError saying what it `needs`.
  [[nodiscard]] Algorithm nccl_word(Algorithm algorithm,
                                    CollectiveKind kind,
                                    std::string_view word,
                                    std::string_view needs) const;

  /// A ring of so many bytes as messages.
  [[nodiscard]] StagedPlan plan_of_ring(CollectiveKind kind, std::int64_t bytes) const;

  [[nodiscard]] NcclCall nccl_call(CollectiveKind kind,
                                   Algorithm algorithm,
                                   std::int64_t bytes) const;

  [[nodiscard]] std::optional<ArrayCollective> hierarchical_arrays(std::int64_t bytes) const;

  const Network& network_;
  std::vector<std::int64_t> ranks_;
  std::vector<double> shares_;  // by position; empty: all equal
  NodeGroups nodes_;
  Hops ring_;
  std::optional<Hierarchy> hierarchy_;

  struct LazyNccl {
    std::mutex mutex;
    std::uint64_t changes = 0;
    std::shared_ptr<const NcclModel> model;
  };

  std::unique_ptr<LazyNccl> nccl_ = std::make_unique<LazyNccl>();
};

/// Short form: AllReduce among `ranks`, end of every one.
std::vector<Tick> all_reduce(const Network& network,
                             std::span<const std::int64_t> ranks,
                             std::int64_t bytes,
                             AllReduceAlgorithm algorithm,
                             std::span<const Tick> starts);

}  // namespace vitsim
