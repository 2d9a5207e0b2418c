#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "sim/collective/algorithm.h"
#include "sim/collective/event_collective.h"
#include "sim/collective/nccl_selection.h"
#include "sim/collective/plan.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// A collective whose times follow from arrays alone, exactly as events would have it: rings that
/// have their links to themselves, and hierarchical AllReduces in which only the GPUs of one node
/// share its NIC.
class ArrayCollective {
 public:
  /// The tick at which every position ends; `ends` may be `starts`. Throws UserError where the end
  /// would overflow the clock. Not thread-safe: it owns scratch memory.
  void run(std::span<const Tick> starts, std::span<Tick> ends);

  /// Everybody ends together, `duration` after the last one's start.
  static ArrayCollective together(Tick duration);

  /// The time all positions take together when every one ends at max(start) + it; absent where the
  /// links are unequal.
  [[nodiscard]] std::optional<Tick> uniform() const;

 private:
  friend class Communicator;

  /// Rings side by side, e.g. one per node; members are consecutive entries of `order`.
  struct RingPhase {
    std::vector<std::uint32_t> order;  // positions
    std::vector<Tick> hop;             // by entry of `order`, to the next of its ring
    std::size_t ring_size = 0;
    std::int64_t steps = 0;
    std::size_t copies = 1;
  };

  std::vector<RingPhase> phases_;  // none: no communication
  std::optional<Tick> together_;   // instead of phases
  std::vector<Tick> from_;
  std::vector<Tick> to_;
  std::vector<Tick> scratch_;
};

/// Ranks that communicate: a group of the cluster's ranks in ring order.
class Communicator {
 public:
  /// Throws UserError where a rank does not exist or appears twice. `network` must outlive it.
  Communicator(const Network& network, std::vector<std::int64_t> ranks);

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(ranks_.size()); }

  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return ranks_; }

  [[nodiscard]] const Network& network() const { return network_; }

  [[nodiscard]] const NodeGroups& nodes() const { return nodes_; }

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

  /// NCCL's costs among these ranks; made at first use.
  [[nodiscard]] const NcclModel& nccl() const;

  /// The fast path where it is exact, else nothing.
  [[nodiscard]] std::optional<ArrayCollective> arrays(CollectiveKind kind,
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

  /// The same at event level always.
  [[nodiscard]] std::vector<Tick> run_events(CollectiveKind kind,
                                             Algorithm algorithm,
                                             std::int64_t bytes,
                                             std::span<const Tick> starts) const;

 private:
  /// Paths from each entry of an order to the next of its ring, one after the other.
  struct Hops {
    std::vector<LinkId> links;
    std::vector<std::size_t> first{0};
    bool alone = true;  // no link is crossed by two of the hops

    [[nodiscard]] std::span<const LinkId> path(std::size_t hop) const {
      return std::span(links).subspan(first[hop], first[hop + 1] - first[hop]);
    }
  };

  [[nodiscard]] Hops ring_hops(const std::vector<std::uint32_t>& order,
                               std::size_t ring_size) const;

  /// Ticks of each hop for messages of `bytes` when `copies` equal flows share it.
  [[nodiscard]] std::vector<Tick> hop_ticks(const Hops& hops,
                                            std::int64_t bytes,
                                            std::size_t copies) const;

  /// An algorithm that the user named; throws UserError saying what it `needs`.
  [[nodiscard]] Algorithm nccl_word(Algorithm algorithm,
                                    CollectiveKind kind,
                                    std::string_view word,
                                    std::string_view needs) const;

  [[nodiscard]] NcclCall nccl_call(CollectiveKind kind,
                                   Algorithm algorithm,
                                   std::int64_t bytes) const;

  [[nodiscard]] std::optional<ArrayCollective> hierarchical_arrays(std::int64_t bytes) const;

  const Network& network_;
  std::vector<std::int64_t> ranks_;
  NodeGroups nodes_;
  Hops ring_;

  struct LazyNccl {
    std::once_flag once;
    std::unique_ptr<const NcclModel> model;
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
