// Who the others wait for.
//
// A step waits for its slowest rank, so speeding up one of several equally slow ranks gains
// nothing, and no rank's own gain shows what they cost together. Ranks that compute alike (same
// GPU, micro-batch and time) are therefore taken as a group. The yardstick is the median rank;
// where that one belongs to the slowest group, as where most GPUs are slow, the median of the
// others. All ranks slower than the yardstick could gain G, were they as fast. The stragglers are
// the smallest set of whole groups, the slowest first, that gains at least half of G: one
// straggler, two old GPUs, or an old kind and another that would take its place.
#include "models/report/attribution.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "models/distribution.h"

namespace vitsim {

namespace {

// Of an epoch: less is not worth a name.
constexpr double kLeastGain = 0.02;
// Of a step, mean over ranks: from here on waiting for what is the usual GPU here is worth one.
constexpr double kMuchWaiting = 0.05;
constexpr double kMuchCommunication = 0.2;
constexpr double kMuchLoading = 0.2;
// Times that are sums of the same phases differ by rounding at most.
constexpr double kRounding = 1e-9;

using Group = std::vector<std::size_t>;  // entries

// Entries that compute alike, the slowest first.
std::vector<Group> groups_by_compute(const std::vector<AttributedRanks>& entries) {
  std::map<std::tuple<double, std::string, std::int64_t>, Group> groups;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    groups[{-entries[i].compute_s, entries[i].gpu, entries[i].micro_batch}].push_back(i);
  }
  std::vector<Group> sorted;
  sorted.reserve(groups.size());
  for (auto& [key, group] : groups) {
    sorted.push_back(std::move(group));
  }
  return sorted;
}

// The median over ranks, not entries.
double weighted_median(const std::vector<std::pair<double, std::int64_t>>& values) {
  std::vector<std::pair<double, std::int64_t>> sorted = values;
  std::ranges::sort(sorted);
  std::int64_t total = 0;
  for (const auto& [value, count] : sorted) {
    total += count;
  }
  const auto at = [&](std::int64_t index) {
    for (const auto& [value, count] : sorted) {
      if (index < count) {
        return value;
      }
      index -= count;
    }
    return sorted.back().first;
  };
  const double upper = at(total / 2);
  return total % 2 == 1 ? upper : (at(total / 2 - 1) + upper) / 2;
}

StragglerGroup straggler_group(const std::vector<AttributedRanks>& entries, const Group& group) {
  StragglerGroup result{.gpu = entries[group.front()].gpu,
                        .node = entries[group.front()].node,
                        .compute_s = entries[group.front()].compute_s};
  if (group.size() == 1) {
    result.ranks = entries[group.front()].ranks;
    return result;
  }
  // Ranks of several entries in rising order.
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  std::int64_t count = 0;
  bool scattered = false;
  for (const std::size_t entry : group) {
    const RankSet& ranks = entries[entry].ranks;
    scattered |= ranks.ranges().empty();
    count += ranks.count();
    ranges.insert(ranges.end(), ranks.ranges().begin(), ranks.ranges().end());
  }
  std::ranges::sort(ranges);
  if (scattered || ranges.size() > RankSet::kMostRanges) {
    result.ranks = RankSet::of(count, entries[group.front()].ranks.first(), {});
    return result;
  }
  for (const auto& [first, last] : ranges) {
    for (std::int64_t rank = first; rank <= last; ++rank) {
      result.ranks.add(rank);
    }
  }
  return result;
}

// Entries that are not named but may be the slowest in a new run.
RankSet other_candidates(const std::vector<AttributedRanks>& entries,
                         const std::vector<Group>& named) {
  std::vector<double> late;
  late.reserve(entries.size());
  for (const AttributedRanks& entry : entries) {
    late.push_back(entry.late_share);
  }
  Group others = likely_last(late);
  std::erase_if(others, [&](std::size_t entry) {
    return std::ranges::any_of(
        named, [&](const Group& group) { return std::ranges::find(group, entry) != group.end(); });
  });
  return others.empty() ? RankSet() : straggler_group(entries, others).ranks;
}

std::optional<Verdict> find_stragglers(const Report& report,
                                       const std::vector<AttributedRanks>& entries,
                                       double epoch_s,
                                       const GainOf& gain) {
  const auto compute = [&](const Group& group) { return entries[group.front()].compute_s; };
  const std::vector<Group> groups = groups_by_compute(entries);
  std::vector<std::pair<double, std::int64_t>> all;
  std::vector<std::pair<double, std::int64_t>> others;
  for (const Group& group : groups) {
    for (const std::size_t entry : group) {
      all.emplace_back(entries[entry].compute_s, entries[entry].ranks.count());
      if (&group != &groups.front()) {
        others.push_back(all.back());
      }
    }
  }
  Verdict found{.limit = Verdict::Limit::kStraggler, .reference_s = weighted_median(all)};
  found.reference_is_median = compute(groups.front()) > found.reference_s * (1 + kRounding);
  if (!found.reference_is_median) {
    if (others.empty() || report.wait_s < kMuchWaiting * report.step_s.p50) {
      return std::nullopt;
    }
    found.reference_s = weighted_median(others);
  }
  std::vector<double> factors(entries.size(), 1.0);
  const auto speed_up = [&](const Group& group) {
    for (const std::size_t entry : group) {
      factors[entry] = found.reference_s / entries[entry].compute_s;
    }
  };
  for (const Group& group : groups) {
    if (compute(group) > found.reference_s * (1 + kRounding)) {
      speed_up(group);
    }
  }
  const double most = gain(factors);
  if (most <= kLeastGain * epoch_s) {
    return std::nullopt;
  }
  factors.assign(factors.size(), 1.0);
  std::vector<Group> named;
  for (const Group& group : groups) {
    speed_up(group);
    named.push_back(group);
    found.stragglers.push_back(straggler_group(entries, group));
    found.gain_s = gain(factors);
    if (found.gain_s >= most / 2) {
      break;
    }
  }
  found.other_candidates = other_candidates(entries, named);
  return found;
}

}  // namespace

double median_compute_s(const std::vector<AttributedRanks>& entries) {
  std::vector<std::pair<double, std::int64_t>> all;
  all.reserve(entries.size());
  for (const AttributedRanks& entry : entries) {
    all.emplace_back(entry.compute_s, entry.ranks.count());
  }
  return weighted_median(all);
}

double entry_gain_s(const std::vector<AttributedRanks>& entries,
                    std::size_t entry,
                    const GainOf& gain) {
  const double typical = median_compute_s(entries);
  const double mine = entries[entry].compute_s;
  if (!(mine > typical * (1 + kRounding))) {
    return 0;
  }
  std::vector<double> factors(entries.size(), 1.0);
  factors[entry] = typical / mine;
  return std::max(0.0, gain(factors));
}

Verdict attribute(const Report& report,
                  const std::vector<AttributedRanks>& entries,
                  const GainOf& gain) {
  const double step_s = report.step_s.p50;
  if (step_s <= 0 || entries.empty()) {
    return {};
  }
  // A run that was stopped early has no whole epoch.
  const double epoch_s = report.epoch_s.p50 > 0
                             ? report.epoch_s.p50
                             : step_s * static_cast<double>(report.steps_per_epoch);
  if (report.phases.data_load_s > kMuchLoading * step_s) {
    return {.limit = Verdict::Limit::kDataLoading};
  }
  if (gain != nullptr && report.world_size > 1) {
    if (const auto found = find_stragglers(report, entries, epoch_s, gain)) {
      return *found;
    }
  }
  return {.limit = report.exposed_communication_s > kMuchCommunication * step_s
                       ? Verdict::Limit::kCommunication
                       : Verdict::Limit::kCompute};
}

}  // namespace vitsim
