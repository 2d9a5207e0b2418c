#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "sim/collective/algorithm.h"
#include "sim/collective/plan.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// AllGather and ReduceScatter on a ring of ranks whose pieces differ in size (MPI's Allgatherv and
/// its mirror image): ranks that hold shards by their memory bring, and get, such pieces.
///
/// In step k of N - 1 position i sends on the piece that reached it in the step before. Of an
/// AllGather that is the piece of position i - k + 1, of a ReduceScatter that of position i - k,
/// whose sum goes round the ring towards its owner. With hop_i(b) as what b bytes take from i to
/// the next position, and as in ring.h:
///
///   e_i[0] = start_i,   e_i[k] = max(e_i[k-1] + hop_i(sent by i in k),
///                                    e_{i-1}[k-1] + hop_{i-1}(sent by i-1 in k))
///
/// A large piece is sent on in every step, so over equal links the last position is N - 1 times the
/// largest piece behind the last start.

/// Beyond this many ranks every piece counts as the largest, which bounds the time from above: the
/// recurrence has N (N - 1) terms.
inline constexpr std::uint32_t kMostRanksOfUnevenRings = 256;

/// Bytes of each position's piece of `bytes`, rounded up. `shares` add up to 1.
std::vector<std::int64_t> pieces_of(std::span<const double> shares, std::int64_t bytes);

/// Position whose piece `position` sends in `step`, from 0 on.
std::size_t sent_piece(CollectiveKind kind,
                       std::size_t ranks,
                       std::size_t position,
                       std::size_t step);

/// The same as messages.
StagedPlan uneven_ring_plan(CollectiveKind kind, std::span<const std::int64_t> pieces);

/// An uneven ring that is alone on its links, without an event queue.
class UnevenRing {
 public:
  /// What messages of so many bytes take from each position to the next, each rounded.
  using HopsOf = std::function<std::vector<Tick>(std::int64_t bytes)>;

  UnevenRing(CollectiveKind kind, std::span<const std::int64_t> pieces, const HopsOf& hops);

  /// `ends` may be `starts`. Throws UserError where the end lies beyond the clock.
  void run(std::span<const Tick> starts, std::span<Tick> ends, std::vector<Tick>& scratch) const;

 private:
  CollectiveKind kind_;
  std::vector<std::size_t> size_of_;    // by position: which of the sizes its piece has
  std::vector<std::vector<Tick>> hop_;  // by size and position
};

}  // namespace vitsim
