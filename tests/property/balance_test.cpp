// Balanced micro-batches beside brute force over every split.
#include "sim/plan/balance.h"

#include <random>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

/// Ranks with a step in their times and a slope, as hosts and kernels make them.
struct RandomRanks {
  std::vector<Seconds> constant;
  std::vector<Seconds> floor;
  std::vector<Seconds> slope;
  std::vector<std::int64_t> largest;

  [[nodiscard]] Seconds time(std::size_t rank, std::int64_t batch) const {
    return constant[rank] + std::max(floor[rank], slope[rank] * static_cast<double>(batch));
  }
};

RandomRanks random_ranks(std::mt19937_64& random) {
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  RandomRanks ranks;
  const int count = between(1, 4);
  for (int i = 0; i < count; ++i) {
    ranks.constant.emplace_back(between(0, 5));
    ranks.floor.emplace_back(between(0, 20));
    ranks.slope.emplace_back(between(1, 9));
    ranks.largest.push_back(between(1, 12));
  }
  return ranks;
}

// The least slowest rank over all splits; nothing where no split adds up.
std::optional<Seconds> brute_force(const RandomRanks& ranks, std::int64_t samples) {
  std::optional<Seconds> best;
  std::vector<std::int64_t> batches(ranks.slope.size(), 1);
  while (true) {
    std::int64_t sum = 0;
    Seconds slowest;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      sum += batches[i];
      slowest = std::max(slowest, ranks.time(i, batches[i]));
    }
    if (sum == samples && (!best || slowest < *best)) {
      best = slowest;
    }
    std::size_t i = 0;
    while (i < batches.size() && ++batches[i] > ranks.largest[i]) {
      batches[i++] = 1;
    }
    if (i == batches.size()) {
      return best;
    }
  }
}

TEST(Balance, IsWhatBruteForceFinds) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    std::mt19937_64 random(seed);
    const RandomRanks ranks = random_ranks(random);
    const std::int64_t samples = std::uniform_int_distribution<std::int64_t>(1, 30)(random);
    std::vector<BalancedRanks> entries;
    for (std::size_t i = 0; i < ranks.slope.size(); ++i) {
      entries.push_back({.count = 1,
                         .time = [&ranks, i](std::int64_t batch) { return ranks.time(i, batch); },
                         .largest = ranks.largest[i]});
    }
    const auto expected = brute_force(ranks, samples);
    const auto found = balance(entries, samples);
    ASSERT_EQ(found.has_value(), expected.has_value()) << seed;
    if (!found) {
      continue;
    }
    std::int64_t sum = 0;
    Seconds slowest;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      EXPECT_GE(found->batches[i].micro_batch, 1) << seed;
      EXPECT_LE(found->batches[i].largest(), ranks.largest[i]) << seed;
      sum += found->batches[i].sum(1);
      slowest = std::max(slowest, ranks.time(i, found->batches[i].largest()));
    }
    EXPECT_EQ(sum, samples) << seed;
    EXPECT_EQ(found->slowest, *expected) << seed;
    EXPECT_EQ(slowest, *expected) << seed;
  }
}

// n ranks in one entry are dealt as n entries of one.
TEST(Balance, RanksThatAreAlikeCountAsSingleOnes) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    const RandomRanks ranks = random_ranks(random);
    std::vector<BalancedRanks> together;
    std::vector<BalancedRanks> single;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < ranks.slope.size(); ++i) {
      const std::int64_t own = std::uniform_int_distribution<std::int64_t>(1, 5)(random);
      count += own;
      together.push_back({.count = own,
                          .time = [&ranks, i](std::int64_t batch) { return ranks.time(i, batch); },
                          .largest = ranks.largest[i]});
      for (std::int64_t copy = 0; copy < own; ++copy) {
        single.push_back(together.back());
        single.back().count = 1;
      }
    }
    const std::int64_t samples = count + std::uniform_int_distribution<std::int64_t>(0, 60)(random);
    const auto a = balance(together, samples);
    const auto b = balance(single, samples);
    ASSERT_EQ(a.has_value(), b.has_value()) << seed;
    if (a) {
      EXPECT_EQ(a->slowest, b->slowest) << seed;
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < together.size(); ++i) {
        sum += a->batches[i].sum(together[i].count);
      }
      EXPECT_EQ(sum, samples) << seed;
    }
  }
}

// Published (timm, discussion 580): two A6000 and two 2080 Ti take the same step time at 300 and
// 200 images each. Where an image takes the one two thirds of the other's time, that is the
// balanced split of 1000.
TEST(Balance, FindsThePublishedSplitOfTwoKinds) {
  const auto per_image = [](double milliseconds_each) {
    return [=](std::int64_t batch) {
      return milliseconds(milliseconds_each * static_cast<double>(batch));
    };
  };
  const std::vector<BalancedRanks> ranks = {
      {.count = 2, .time = per_image(2), .largest = std::nullopt},
      {.count = 2, .time = per_image(3), .largest = std::nullopt}};
  const auto found = balance(ranks, 1000);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->batches[0], (RankBatches{.micro_batch = 300}));
  EXPECT_EQ(found->batches[1], (RankBatches{.micro_batch = 200}));
}

}  // namespace
}  // namespace vitsim
