#include "sim/collective/ring.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "models/wide_integer.h"
#include "sim/collective/ring_paths.h"

// A ring of unequal hops in as many passes as there are kinds of hops.
//
// Unroll the recurrence: e_i[K] is the longest of all walks that begin at some position s with
// start_s and take K steps. Each step stays or moves on to the next position, and costs the hop of
// the position it leaves or stays at. A walk from s to i moves over s..i-1 once each and spends its
// other steps where the hop is largest on its way, s..i. Let that largest hop be h, one of the
// kinds of the ring. With the deficits h - h_j of the hops it moves over, the walk takes
//
//   start_s + K h - sum over j = s..i-1 of (h - h_j).
//
// So for each kind h one pass along the ring suffices. It carries the best of
// start_s - sum of deficits over all s since the last hop that is larger than h, and the same over
// those s after which a hop of kind h itself has come. The latter, plus K h, is a candidate for
// e_i. Both are running maxima: a move subtracts one deficit.
//
// The walks of the largest kind L go round the ring, so its pass begins at a hop of that kind.
//   K = 2(N-1): the pass makes two laps. A walk that is a lap longer than need be loses a lap's
//   deficits and wins nothing, so it does no harm that the pass admits it.
//   K = N-1: a walk moves at most N-1 times. What starts in the lap before at position j > i is
//   read from maxima over the end of that lap; what starts at or before i comes from the running
//   maximum of the present lap.
//
// A smaller kind h needs no pass where walks that go round once more and stay at L are never
// shorter. That is so if (K - d) (L - h) is at least the sum of the deficits L - h_j of a lap, for
// the longest d < K - N that a walk can move between two hops larger than h. In a ring over nodes
// of several GPUs with K = 2(N-1) this leaves the one pass for the NIC.
//
// Sums stay within the end of the collective and its negative, so nothing overflows that fits the
// clock. Everything is integer arithmetic: the result is the recurrence's, to the tick.

namespace vitsim {

namespace {

/// Refuses what may end beyond the clock, as events would.
void check_fits(Tick start, Tick hop, std::int64_t steps) {
  const Int128 end = start + static_cast<Int128>(hop) * steps;
  check_clock(end > kLatestTick ? std::numeric_limits<Tick>::max() : static_cast<Tick>(end));
}

}  // namespace

StagedPlan ring_plan(CollectiveKind kind, std::uint32_t ranks, std::int64_t bytes) {
  StagedPlan plan = empty_plan(ranks, 1);
  std::vector<std::uint32_t> members(ranks);
  for (std::uint32_t i = 0; i < ranks; ++i) {
    members[i] = i;
  }
  const std::uint32_t phases = kind == CollectiveKind::kAllReduce ? 2 : 1;
  set_ring(plan, members, 0, divide_up(bytes, ranks), phases * (ranks - 1));
  return plan;
}

void ring_by_recurrence(std::span<const Tick> hop,
                        std::int64_t steps,
                        std::span<const Tick> starts,
                        std::span<Tick> ends,
                        std::vector<Tick>& scratch) {
  const std::size_t n = hop.size();
  // Two rows with the last position repeated in front, so that the inner loop has no wrap.
  scratch.resize(2 * (n + 1));
  Tick* now = scratch.data();
  Tick* next = now + n + 1;
  std::copy(starts.begin(), starts.end(), now + 1);
  for (std::int64_t step = 0; step < steps; ++step) {
    // next[i] first holds when i's own message arrives.
    for (std::size_t i = 0; i < n; ++i) {
      now[i + 1] += hop[i];
    }
    now[0] = now[n];
    for (std::size_t i = 1; i <= n; ++i) {
      next[i] = std::max(now[i], now[i - 1]);
    }
    std::swap(now, next);
  }
  std::copy(now + 1, now + 1 + n, ends.begin());
}

Ring::Ring(std::vector<Tick> hop, std::int64_t steps) : hop_(std::move(hop)), steps_(steps) {
  const auto largest = std::max_element(hop_.begin(), hop_.end());
  largest_ = *largest;
  const auto n = static_cast<std::int64_t>(hop_.size());
  const Tick least = *std::min_element(hop_.begin(), hop_.end());
  if (least == largest_ && steps >= n - 1) {
    method_ = Method::kEqual;
    return;
  }
  // Tenths of a nanosecond for each position, measured: a pass, a level of the paths' trees, a step
  // of the recurrence.
  constexpr std::int64_t kPass = 20;
  constexpr std::int64_t kLevel = 120;
  constexpr std::int64_t kStep = 6;
  const bool is_all_reduce = steps == 2 * (n - 1);
  const std::int64_t recurrence = kStep * steps;
  const std::int64_t paths = kLevel * static_cast<std::int64_t>(std::bit_width(hop_.size()));
  const std::int64_t others = is_all_reduce ? std::min(recurrence, paths) : recurrence;
  method_ = others < recurrence ? Method::kPaths : Method::kRecurrence;
  if ((!is_all_reduce && steps != n - 1) || 2 * kPass >= others) {
    return;
  }
  find_kinds(static_cast<std::size_t>(others / kPass));
  if (!kinds_.empty()) {
    origin_ = static_cast<std::size_t>(largest - hop_.begin());
    method_ = Method::kKinds;
  }
}

/// The kinds that need a pass, largest first; none where there are more than `most` kinds.
void Ring::find_kinds(std::size_t most) {
  std::vector<Tick> found(1, largest_);
  for (const Tick hop : hop_) {
    const auto place = std::lower_bound(found.begin(), found.end(), hop, std::greater<>());
    if (place == found.end() || *place != hop) {
      if (found.size() == most) {
        return;
      }
      found.insert(place, hop);
    }
  }
  const auto n = static_cast<std::int64_t>(hop_.size());
  Int128 lap = 0;
  for (const Tick hop : hop_) {
    lap += largest_ - hop;
  }
  kinds_.assign(1, largest_);
  for (std::size_t kind = 1; kind < found.size(); ++kind) {
    // Longest stretch of hops that are not larger. Two laps: one may run past the end.
    std::int64_t longest = 0;
    std::int64_t run = 0;
    for (std::int64_t i = 0; i < 2 * n; ++i) {
      run = hop_[static_cast<std::size_t>(i % n)] <= found[kind] ? run + 1 : 0;
      longest = std::max(longest, run);
    }
    const std::int64_t moves = longest - 1;
    const bool goes_round = moves + n <= steps_;
    if (!goes_round || (steps_ - moves) * static_cast<Int128>(largest_ - found[kind]) < lap) {
      kinds_.push_back(found[kind]);
    }
  }
}

void Ring::run(std::span<const Tick> starts,
               std::span<Tick> ends,
               std::vector<Tick>& scratch) const {
  const auto [first, last] = std::minmax_element(starts.begin(), starts.end());
  const Tick latest = *last;
  const Tick spread = latest - *first;
  check_fits(latest, largest_, steps_);
  const auto n = static_cast<std::int64_t>(hop_.size());
  switch (method_) {
    case Method::kEqual:
      std::fill(ends.begin(), ends.end(), latest + steps_ * largest_);
      return;
    case Method::kKinds:
      by_kinds(starts, ends, scratch);
      return;
    case Method::kPaths:
      if (ring_paths_fit(spread, largest_, n)) {
        ring_all_reduce_by_paths(hop_, starts, ends);
        return;
      }
      [[fallthrough]];
    case Method::kRecurrence:
      ring_by_recurrence(hop_, steps_, starts, ends, scratch);
  }
}

void Ring::by_kinds(std::span<const Tick> starts,
                    std::span<Tick> ends,
                    std::vector<Tick>& scratch) const {
  const std::size_t n = hop_.size();
  const bool others = kinds_.size() > 1;
  const bool one_lap = steps_ == static_cast<std::int64_t>(n) - 1;
  scratch.resize((others ? n : 0) + (one_lap ? n : 0));
  const std::span<Tick> best(scratch.data(), others ? n : 0);
  const std::span<Tick> before(scratch.data() + best.size(), scratch.size() - best.size());
  std::fill(best.begin(), best.end(), kNever);
  for (std::size_t kind = 1; kind < kinds_.size(); ++kind) {
    pass_between_larger(kinds_[kind], starts, best);
  }
  // Positions count from `origin_`, x to the ring's end and then from its beginning.
  const auto next = [&](std::size_t position) { return position + 1 == n ? 0 : position + 1; };
  Tick reached = kNever;  // best walk to here
  if (one_lap) {
    // before[x]: best walk that starts at x or later in the lap before, at that lap's end.
    Tick deficit = 0;
    std::size_t position = origin_;
    for (std::size_t x = n; x-- > 0;) {
      position = (position == 0 ? n : position) - 1;
      deficit += largest_ - hop_[position];
      reached = std::max(reached, starts[position] - deficit);
      before[x] = reached;
    }
    reached = kNever;
  } else {
    std::size_t position = origin_;
    for (std::size_t x = 0; x < n; ++x, position = next(position)) {
      reached = std::max(reached, starts[position]) - (largest_ - hop_[position]);
    }
  }
  Tick through = kNever;  // best walk to here that has met a largest hop
  Tick moved = 0;         // deficits since the lap began
  std::size_t position = origin_;
  for (std::size_t x = 0; x < n; ++x, position = next(position)) {
    const Tick deficit = largest_ - hop_[position];
    reached = std::max(reached, starts[position]);
    through = deficit == 0 ? reached : through;
    Tick longest = through;
    if (one_lap && x + 1 < n) {
      longest = std::max(longest, before[x + 1] - moved);
      moved += deficit;
    }
    longest += steps_ * largest_;
    ends[position] = others ? std::max(longest, best[position]) : longest;
    reached -= deficit;
    through -= deficit;
  }
}

/// Walks whose largest hop is `kind`: they stay between two hops that are larger.
void Ring::pass_between_larger(Tick kind,
                               std::span<const Tick> starts,
                               std::span<Tick> best) const {
  const std::size_t n = hop_.size();
  Tick reached = kNever;
  Tick through = kNever;
  std::size_t position = origin_;  // larger than `kind`: no walk crosses it
  for (std::size_t x = 0; x < n; ++x, position = position + 1 == n ? 0 : position + 1) {
    const Tick deficit = kind - hop_[position];
    if (deficit < 0) {
      reached = through = kNever;
      continue;
    }
    reached = std::max(reached, starts[position]);
    through = deficit == 0 ? reached : through;
    if (through != kNever) {
      best[position] = std::max(best[position], steps_ * kind + through);
      through -= deficit;
    }
    reached -= deficit;
  }
}

std::optional<Tick> Ring::uniform() const {
  return method_ == Method::kEqual ? std::optional(steps_ * largest_) : std::nullopt;
}

}  // namespace vitsim
