#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sim/collective/algorithm.h"
#include "sim/collective/plan.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// Ring: AllReduce 2(N-1) steps, reduce-scatter and all-gather N-1, of ceil(bytes / N).
StagedPlan ring_plan(CollectiveKind kind, std::uint32_t ranks, std::int64_t bytes);

/// Ring collectives alone on their links, without an event queue.
///
/// `hop[i]` is what a message from position i to position i+1 (mod N) takes, latency and transfer,
/// each rounded. In every ring step each position sends to the next and receives from the one
/// before, and goes on when both are done:
///
///   e_i[0] = start_i,   e_i[k] = max(e_i[k-1] + hop_i, e_{i-1}[k-1] + hop_{i-1})
///
/// AllReduce makes 2(N-1) such steps, reduce-scatter and all-gather N-1. Everything below gives
/// e[steps] of this recurrence to the tick; `ends` may be `starts`.

/// The recurrence itself: steps x N operations.
void ring_by_recurrence(std::span<const Tick> hop,
                        std::int64_t steps,
                        std::span<const Tick> starts,
                        std::span<Tick> ends,
                        std::vector<Tick>& scratch);

/// A ring made ready for many starts. It takes the cheapest way that is exact: the closed form
/// where all hops are equal and steps >= N-1 (everybody ends at max(start) + steps x hop); one pass
/// for each kind of hop, see ring.cpp; paths, see ring_paths.h; the recurrence.
class Ring {
 public:
  /// `hop` is not empty.
  Ring(std::vector<Tick> hop, std::int64_t steps);

  [[nodiscard]] std::size_t size() const { return hop_.size(); }

  /// `ends` may be `starts`. Throws UserError where the end may lie beyond the clock.
  void run(std::span<const Tick> starts, std::span<Tick> ends, std::vector<Tick>& scratch) const;

  /// What everybody takes after the last start, where it is the same for all.
  [[nodiscard]] std::optional<Tick> uniform() const;

 private:
  enum class Method { kEqual, kKinds, kPaths, kRecurrence };

  /// No walk; a few deficits may be taken from it.
  static constexpr Tick kNever = std::numeric_limits<Tick>::min() / 2;

  void find_kinds(std::size_t most);
  void by_kinds(std::span<const Tick> starts,
                std::span<Tick> ends,
                std::vector<Tick>& scratch) const;
  void pass_between_larger(Tick kind, std::span<const Tick> starts, std::span<Tick> best) const;

  std::vector<Tick> hop_;
  std::int64_t steps_ = 0;
  Tick largest_ = 0;
  Method method_ = Method::kRecurrence;
  std::vector<Tick> kinds_;  // largest first: those that need a pass
  std::size_t origin_ = 0;   // a position with the largest hop
};

}  // namespace vitsim
