// Integer water-filling. Let b_i(T) be the largest micro-batch that rank i finishes by T and that
// fits its memory. It never falls with T, so neither does the sum over ranks, and the least T at
// which the sum reaches the samples is found by bisection: no split is done earlier, since each
// rank of it would compute at most b_i(T) samples by T. Time is a step function of whole samples,
// so at that T the sum may exceed the samples; the surplus is taken, one sample at a time, from the
// ranks that would be done last, as long as that lets them finish earlier. Where a host's launches
// rule, a sample less saves nothing, and others give theirs first.
//
// Bisection ends when no double lies between its ends, after some 60 halvings; ranks that are alike
// count as one, so that the cost does not depend on their number.
#include "sim/plan/balance.h"

#include <algorithm>
#include <map>
#include <utility>

namespace vitsim {

namespace {

/// An entry, with what was asked of its times.
class Filled {
 public:
  Filled(const BalancedRanks& ranks, std::int64_t samples)
      : ranks_(ranks), most_(std::min(samples, ranks.largest.value_or(samples))) {}

  [[nodiscard]] std::int64_t count() const { return ranks_.count; }

  [[nodiscard]] std::int64_t most() const { return most_; }

  Seconds at(std::int64_t batch) {
    const auto [entry, fresh] = known_.try_emplace(batch);
    if (fresh) {
      entry->second = ranks_.time(batch);
    }
    return entry->second;
  }

  /// The largest micro-batch that is done by `limit`; 0 where none is.
  std::int64_t by(Seconds limit) {
    if (most_ < 1 || at(1) > limit) {
      return 0;
    }
    std::int64_t low = 1;
    std::int64_t high = most_ + 1;
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (at(middle) <= limit ? low : high) = middle;
    }
    return low;
  }

 private:
  const BalancedRanks& ranks_;
  std::int64_t most_;
  std::map<std::int64_t, Seconds> known_;
};

}  // namespace

std::optional<Balance> balance(std::span<const BalancedRanks> ranks, std::int64_t samples) {
  std::vector<Filled> entries;
  Seconds least;  // nobody is done with one sample before
  Seconds most;
  std::int64_t count = 0;
  std::int64_t room = 0;
  for (const BalancedRanks& each : ranks) {
    Filled& entry = entries.emplace_back(each, samples);
    if (entry.most() < 1) {
      return std::nullopt;
    }
    count += entry.count();
    room += entry.count() * entry.most();
    least = std::max(least, entry.at(1));
    most = std::max(most, entry.at(entry.most()));
  }
  if (count < 1 || samples < count || room < samples) {
    return std::nullopt;
  }
  const auto sum_by = [&](Seconds limit) {
    std::int64_t sum = 0;
    for (Filled& entry : entries) {
      sum += entry.count() * entry.by(limit);
    }
    return sum;
  };
  Seconds high = sum_by(least) >= samples ? least : most;
  for (Seconds low = least; high > least;) {
    const Seconds middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) {
      break;
    }
    (sum_by(middle) >= samples ? high : low) = middle;
  }
  Balance result;
  std::int64_t surplus = -samples;
  for (Filled& entry : entries) {
    // As if all had one more than `micro_batch`.
    const std::int64_t batch = entry.by(high);
    result.batches.push_back({.micro_batch = batch - 1, .with_more = entry.count()});
    surplus += batch * entry.count();
  }
  while (surplus > 0) {
    // Of those that a sample less would let finish earlier; else of the largest batches.
    const auto weight = [&](std::size_t i) {
      const std::int64_t batch = result.batches[i].largest();
      const Seconds time = entries[i].at(batch);
      return batch < 2                         ? std::pair(-1, 0.0)
             : entries[i].at(batch - 1) < time ? std::pair(1, time.value())
                                               : std::pair(0, static_cast<double>(batch));
    };
    std::size_t last = 0;
    for (std::size_t i = 1; i < entries.size(); ++i) {
      last = weight(i) > weight(last) ? i : last;
    }
    RankBatches& own = result.batches[last];
    if (own.with_more == 0) {
      --own.micro_batch;
      own.with_more = entries[last].count();
    }
    const std::int64_t taken = std::min(surplus, own.with_more);
    own.with_more -= taken;
    surplus -= taken;
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    RankBatches& own = result.batches[i];
    if (own.with_more == entries[i].count()) {
      ++own.micro_batch;
      own.with_more = 0;
    }
    result.slowest = std::max(result.slowest, entries[i].at(own.largest()));
  }
  return result;
}

}  // namespace vitsim
