#include "sim/collective/ring_paths.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "models/wide_integer.h"

// AllReduce on a ring of N unequal hops without its 2 N (N-1) steps.
//
// Unroll the recurrence: e_i[K] is the longest of all walks that begin at some position s with
// start_s and take K steps, each of which stays or moves on to the next position and costs the hop
// of the position it leaves or stays at. A walk from s to i = s + d (d may exceed N: round the
// ring) moves over s..i-1 once each and spends its other K-d steps where the hop is largest on its
// way:
//
//   e_i[K] = max over d of  start_s + sum of hop over s..i-1 + (K-d) max of hop over s..i.
//
// A largest element is found by trying all: with P the prefix sums of the unrolled hops,
//
//   e_i[K] = P_i + max over j <= i of ( K h_j - i h_j + max over s <= j of (start_s - P_s + s h_j)
//   ).
//
// The inner maximum is over lines in h, the outer over lines in i, both over prefixes, so two Li
// Chao trees answer them in N log N. Positions 0..2N-2 of the unrolled ring hold every rank once as
// i = N-1..2N-2 with all d < N, and d <= i <= K = 2(N-1) for all of them. Longer walks, d >= N-1,
// see the whole ring, so that their other steps cost the largest hop of all; a window maximum
// serves them. Everything is integer arithmetic: the result is the recurrence's, to the tick.

namespace vitsim {

namespace {

/// Maximum over lines a + b x, asked at x of a fixed rising list (Li Chao tree).
class LineMaximum {
 public:
  explicit LineMaximum(std::vector<Tick> x) : x_(std::move(x)), nodes_(2 * x_.size()) {}

  void add(Tick a, Tick b) {
    Line line{a, b, true};
    std::size_t low = 0;
    std::size_t high = x_.size();
    for (;;) {
      const std::size_t middle = low + (high - low) / 2;
      Line& here = nodes_[node_of(low, high)];
      if (!here.set) {
        here = line;
        return;
      }
      if (line.at(x_[middle]) > here.at(x_[middle])) {
        std::swap(line, here);
      }
      if (high - low == 1) {
        return;
      }
      // The loser can win only on the side of the middle where it is steeper.
      if (line.b < here.b) {
        if (middle == low) {
          return;
        }
        high = middle;
      } else if (line.b > here.b) {
        if (middle + 1 == high) {
          return;
        }
        low = middle + 1;
      } else {
        return;
      }
    }
  }

  /// At the x of that index; at least one line must be there.
  [[nodiscard]] Tick best(std::size_t index) const {
    Tick best = std::numeric_limits<Tick>::min();
    std::size_t low = 0;
    std::size_t high = x_.size();
    while (low < high) {
      const std::size_t middle = low + (high - low) / 2;
      const Line& here = nodes_[node_of(low, high)];
      if (!here.set) {
        break;  // nothing was ever pushed further down
      }
      best = std::max(best, here.at(x_[index]));
      if (index == middle) {
        break;
      }
      if (index < middle) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return best;
  }

  [[nodiscard]] std::size_t index_of(Tick x) const {
    return static_cast<std::size_t>(std::lower_bound(x_.begin(), x_.end(), x) - x_.begin());
  }

 private:
  struct Line {
    Tick a = 0;
    Tick b = 0;
    bool set = false;

    [[nodiscard]] Tick at(Tick x) const { return a + b * x; }
  };

  /// Every range that the search visits has a middle of its own.
  static std::size_t node_of(std::size_t low, std::size_t high) { return low + (high - low) / 2; }

  std::vector<Tick> x_;
  std::vector<Line> nodes_;
};

}  // namespace

void ring_all_reduce_by_paths(std::span<const Tick> hop,
                              std::span<const Tick> starts,
                              std::span<Tick> ends) {
  const auto n = static_cast<std::int64_t>(hop.size());
  if (n < 2) {
    std::copy(starts.begin(), starts.end(), ends.begin());
    return;
  }
  const std::int64_t steps = 2 * (n - 1);
  const Tick largest = *std::max_element(hop.begin(), hop.end());
  const Tick origin = *std::min_element(starts.begin(), starts.end());
  const auto h = [&](std::int64_t position) { return hop[static_cast<std::size_t>(position % n)]; };
  const auto start = [&](std::int64_t position) {
    return starts[static_cast<std::size_t>(position % n)] - origin;
  };

  std::vector<Tick> heights(hop.begin(), hop.end());
  std::sort(heights.begin(), heights.end());
  heights.erase(std::unique(heights.begin(), heights.end()), heights.end());
  std::vector<Tick> positions(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    positions[static_cast<std::size_t>(i)] = n - 1 + i;
  }
  LineMaximum from_start(heights);
  LineMaximum via_largest(positions);
  std::vector<Tick> longest(static_cast<std::size_t>(n));
  Tick prefix = 0;  // P_j
  for (std::int64_t j = 0; j <= 2 * n - 2; ++j) {
    from_start.add(start(j) - prefix, j);
    const Tick begin = from_start.best(from_start.index_of(h(j)));
    via_largest.add(begin + steps * h(j), -h(j));
    if (j >= n - 1) {
      longest[static_cast<std::size_t>(j - (n - 1))] =
          prefix + via_largest.best(static_cast<std::size_t>(j - (n - 1)));
    }
    prefix += h(j);
  }

  // Walks of n-1 <= d <= K moves: position i of the unrolled ring, now i = K..K+n-1, is reached
  // from s = i-K..i-(n-1); maximum of start_s - P_s + s x largest over that window.
  std::vector<Tick> sums(static_cast<std::size_t>(steps + n));
  for (std::size_t i = 1; i < sums.size(); ++i) {
    sums[i] = sums[i - 1] + h(static_cast<std::int64_t>(i) - 1);
  }
  const auto value = [&](std::int64_t s) {
    return start(s) - sums[static_cast<std::size_t>(s)] + s * largest;
  };
  std::vector<std::int64_t> window;  // falling values; the first that counts is at `head`
  std::size_t head = 0;
  std::int64_t entered = 0;
  for (std::int64_t i = steps; i < steps + n; ++i) {
    for (; entered <= i - (n - 1); ++entered) {
      while (window.size() > head && value(window.back()) <= value(entered)) {
        window.pop_back();
      }
      window.push_back(entered);
    }
    while (window[head] < i - steps) {
      ++head;
    }
    const Tick round =
        value(window[head]) + sums[static_cast<std::size_t>(i)] + (steps - i) * largest;
    // Position i of this unrolling is rank i mod n, position n-1 + x of the other.
    Tick& end = longest[static_cast<std::size_t>((i + 1) % n)];
    end = std::max(end, round);
  }
  for (std::int64_t x = 0; x < n; ++x) {
    ends[static_cast<std::size_t>((n - 1 + x) % n)] = origin + longest[static_cast<std::size_t>(x)];
  }
}

bool ring_paths_fit(Tick spread, Tick largest, std::int64_t ranks) {
  // The largest sum is a line of the second tree at the far end: a start, prefix sums of two laps,
  // and twice K hops. Five times K hops covers it.
  const Int128 steps = 2 * static_cast<Int128>(ranks);
  return spread + 5 * steps * largest < std::numeric_limits<Tick>::max();
}

}  // namespace vitsim
