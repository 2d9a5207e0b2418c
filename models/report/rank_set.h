#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace vitsim {

/// A set of ranks as ranges from the first to the last of them. Scattered sets keep no more than
/// `kMostRanges`; beyond that only how many they are and the first of them.
class RankSet {
 public:
  static constexpr std::size_t kMostRanges = 8;

  RankSet() = default;

  explicit RankSet(std::int64_t rank) { add(rank); }

  /// Ranks must come in rising order.
  void add(std::int64_t rank);

  [[nodiscard]] std::int64_t count() const { return count_; }

  [[nodiscard]] bool empty() const { return count_ == 0; }

  [[nodiscard]] std::int64_t first() const { return first_; }

  /// First and last of each range; empty where the set is too scattered.
  [[nodiscard]] const std::vector<std::pair<std::int64_t, std::int64_t>>& ranges() const {
    return ranges_;
  }

  /// From what a file holds; `ranges` may be empty.
  static RankSet of(std::int64_t count,
                    std::int64_t first,
                    std::vector<std::pair<std::int64_t, std::int64_t>> ranges);

 private:
  std::int64_t count_ = 0;
  std::int64_t first_ = 0;
  std::int64_t last_ = -2;
  bool scattered_ = false;
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges_;
};

/// "rank 3", "ranks 3 and 4", "ranks 0-2", "ranks 1, 4, 6-9", or "12 ranks" where they are too
/// scattered.
std::string text(const RankSet& ranks);

}  // namespace vitsim
