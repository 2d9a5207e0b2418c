#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/collective/chain_broadcast.h"
#include "sim/collective/ring.h"
#include "sim/collective/uneven_ring.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// A collective whose times follow from arrays alone, exactly as events would have it: rings and
/// chains that have their links to themselves, and hierarchical AllReduces in which only the GPUs
/// of one node share its NIC.
class ArrayCollective {
 public:
  /// The tick at which every position ends; `ends` may be `starts`. Throws UserError where the end
  /// would overflow the clock. Not thread-safe: it owns scratch memory.
  void run(std::span<const Tick> starts, std::span<Tick> ends);

  /// Everybody ends together, `duration` after the last one's start.
  static ArrayCollective together(Tick duration);

  /// False for an estimate of a tree: then everybody ends at max(start) + `uniform()`, which is
  /// near what events give (tree_estimate.h), not equal.
  [[nodiscard]] bool is_exact() const { return !estimate_; }

  /// The time all positions take together when every one ends at max(start) + it; absent where the
  /// links are unequal.
  [[nodiscard]] std::optional<Tick> uniform() const;

 private:
  friend class Communicator;

  /// Positions in the order of their rings; absent: as they are numbered.
  using Order = std::shared_ptr<const std::vector<std::uint32_t>>;

  /// Rings side by side, e.g. one per node; members are consecutive entries of the order.
  struct RingPhase {
    Order order;
    std::size_t ring_size = 0;
    std::size_t copies = 1;            // rings that do the same, one after the other in the order
    std::vector<Ring> rings;           // that differ
    std::vector<std::uint32_t> which;  // for each set of copies
  };

  /// `hop` lists the hops of all rings, copies left out.
  void add_rings(const std::vector<Tick>& hop,
                 std::int64_t steps,
                 std::size_t ring_size,
                 std::size_t copies,
                 Order order);

  std::vector<RingPhase> phases_;  // none, and nothing below: no communication
  std::optional<UnevenRing> uneven_;
  std::optional<Chain> chain_;
  std::optional<Tick> together_;  // instead of both
  std::optional<Tick> estimate_;
  std::vector<Tick> from_;
  std::vector<Tick> to_;
  std::vector<Tick> scratch_;
};

}  // namespace vitsim
