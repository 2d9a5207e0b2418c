#include "models/report/rank_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vitsim {

void RankSet::add(std::int64_t rank) {
  if (count_ == 0) {
    first_ = rank;
  }
  ++count_;
  if (scattered_) {
    return;
  }
  if (!ranges_.empty() && rank == last_ + 1) {
    ranges_.back().second = rank;
  } else if (ranges_.size() == kMostRanges) {
    scattered_ = true;
    ranges_.clear();
  } else {
    ranges_.emplace_back(rank, rank);
  }
  last_ = rank;
}

RankSet RankSet::of(std::int64_t count,
                    std::int64_t first,
                    std::vector<std::pair<std::int64_t, std::int64_t>> ranges) {
  RankSet set;
  set.count_ = count;
  set.first_ = first;
  set.scattered_ = ranges.empty();
  set.last_ = ranges.empty() ? first : ranges.back().second;
  set.ranges_ = std::move(ranges);
  return set;
}

std::string text(const RankSet& ranks) {
  if (ranks.count() == 1) {
    return fmt::format("rank {}", ranks.first());
  }
  if (ranks.ranges().empty()) {
    return fmt::format("{} ranks", ranks.count());
  }
  if (ranks.count() == 2) {
    return fmt::format("ranks {} and {}", ranks.first(), ranks.ranges().back().second);
  }
  std::vector<std::string> parts;
  for (const auto& [first, last] : ranks.ranges()) {
    parts.push_back(first == last       ? fmt::format("{}", first)
                    : first + 1 == last ? fmt::format("{}, {}", first, last)
                                        : fmt::format("{}-{}", first, last));
  }
  return fmt::format("ranks {}", fmt::join(parts, ", "));
}

}  // namespace vitsim
