#include "trainer/data/epoch_deal.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using Positions = std::vector<std::int64_t>;

// All positions of one rank, micro-batch after micro-batch.
Positions all_of_rank(const EpochPlan& plan, std::int64_t rank) {
  const EpochDeal deal(plan, rank, static_cast<std::int64_t>(plan.full.size()));
  Positions all;
  for (std::int64_t i = 0; i < deal.micro_batches(); ++i) {
    const Positions some = deal.positions(i);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// The joined positions of all ranks in one step, sorted.
Positions joined(const EpochPlan& plan, std::int64_t step) {
  Positions all;
  for (std::size_t rank = 0; rank < plan.full.size(); ++rank) {
    const EpochDeal deal(
        plan, static_cast<std::int64_t>(rank), static_cast<std::int64_t>(plan.full.size()));
    for (std::int64_t i = deal.micro_batches_before(step); i < deal.micro_batches_before(step + 1);
         ++i) {
      const Positions some = deal.positions(i);
      all.insert(all.end(), some.begin(), some.end());
    }
  }
  std::ranges::sort(all);
  return all;
}

TEST(EpochDeal, DealsEqualMicroBatchesAsDistributedSamplerDoes) {
  // 10 samples, 3 ranks: 4 each, the order is padded by its first two. Rank 1 has 1, 4, 7, 10 - 10.
  const EpochPlan plan = plan_epoch(10, 3, Positions{3}, 1);
  const EpochDeal deal(plan, 1, 3);
  EXPECT_EQ(deal.micro_batches(), 2);
  EXPECT_THAT(deal.positions(0), ElementsAre(1, 4, 7));
  EXPECT_THAT(deal.positions(1), ElementsAre(0));
  EXPECT_THAT(all_of_rank(plan, 2), ElementsAre(2, 5, 8, 1));
}

TEST(EpochDeal, RepeatsTheOrderAsOftenAsPaddingNeeds) {
  // 2 samples on 5 ranks: one each, 0 1 0 1 0.
  const EpochPlan plan = plan_epoch(2, 5, Positions{4}, 1);
  for (std::int64_t rank = 0; rank < 5; ++rank) {
    EXPECT_THAT(all_of_rank(plan, rank), ElementsAre(rank % 2));
  }
}

TEST(EpochDeal, CutsStepsIntoMicroBatchesAndTheLastOneShort) {
  // 23 samples, 1 rank, 2 micro-batches of 4 a step: steps of 8, 8, 7 = 4 + 3.
  const EpochPlan plan = plan_epoch(23, 1, Positions{4}, 2);
  const EpochDeal deal(plan, 0, 1);
  EXPECT_EQ(deal.micro_batches(), 6);
  EXPECT_EQ(deal.micro_batches_before(1), 2);
  EXPECT_EQ(deal.micro_batches_before(3), 6);
  EXPECT_THAT(deal.positions(4), ElementsAre(16, 17, 18, 19));
  EXPECT_THAT(deal.positions(5), ElementsAre(20, 21, 22));
}

TEST(EpochDeal, TakesSlicesWhenMicroBatchesDiffer) {
  // Steps of 2 x (1 + 3) = 8. Rank 0 takes the first two of a step, rank 1 the next six, in two
  // micro-batches of three.
  const EpochPlan plan = plan_epoch(16, 2, Positions{1, 3}, 2);
  const EpochDeal small(plan, 0, 2);
  const EpochDeal large(plan, 1, 2);
  EXPECT_THAT(small.positions(2), ElementsAre(8));
  EXPECT_THAT(small.positions(3), ElementsAre(9));
  EXPECT_THAT(large.positions(2), ElementsAre(10, 11, 12));
  EXPECT_THAT(large.positions(3), ElementsAre(13, 14, 15));
}

TEST(EpochDeal, VisitsEverySampleOnceWithUnequalMicroBatches) {
  for (const std::int64_t subset : {1, 5, 6, 7, 59, 60, 61, 200}) {
    for (const Positions& sizes : {Positions{1, 2, 3}, Positions{4, 1}, Positions{1, 1, 1, 7}}) {
      for (const std::int64_t accumulation : {1, 3}) {
        const auto world = static_cast<std::int64_t>(sizes.size());
        const EpochPlan plan = plan_epoch(subset, world, sizes, accumulation);
        std::multiset<std::int64_t> seen;
        for (std::int64_t rank = 0; rank < world; ++rank) {
          for (const std::int64_t position : all_of_rank(plan, rank)) {
            seen.insert(position);
          }
        }
        ASSERT_EQ(static_cast<std::int64_t>(seen.size()), subset);
        for (std::int64_t position = 0; position < subset; ++position) {
          ASSERT_EQ(seen.count(position), 1U) << "sample " << position << " of " << subset;
        }
      }
    }
  }
}

TEST(EpochDeal, VisitsEverySampleOnceAndThePaddingTwiceWithEqualMicroBatches) {
  for (const std::int64_t subset : {7, 8, 9, 100}) {
    for (const std::int64_t world : {1, 2, 3, 5}) {
      const EpochPlan plan = plan_epoch(subset, world, Positions{2}, 2);
      std::map<std::int64_t, int> seen;
      for (std::int64_t rank = 0; rank < world; ++rank) {
        for (const std::int64_t position : all_of_rank(plan, rank)) {
          ++seen[position];
        }
      }
      // Padded to the next multiple of the world size, from the start.
      const std::int64_t padding = (world - subset % world) % world;
      for (std::int64_t position = 0; position < subset; ++position) {
        ASSERT_EQ(seen[position], position < padding ? 2 : 1)
            << "sample " << position << " of " << subset << " on " << world;
      }
    }
  }
}

TEST(EpochDeal, JoinsTheSameSamplesInAStepForAnySplitOfTheSameSum) {
  // Sum 6 each; the epoch of 40 has six steps of 6 and one of 4, dealt in the same proportions.
  const EpochPlan one = plan_epoch(40, 1, Positions{6}, 1);
  const EpochPlan two = plan_epoch(40, 2, Positions{2, 4}, 1);
  const EpochPlan three = plan_epoch(40, 3, Positions{1, 2, 3}, 1);
  ASSERT_EQ(one.steps, 7);
  for (std::int64_t step = 0; step < 7; ++step) {
    EXPECT_EQ(joined(one, step), joined(two, step));
    EXPECT_EQ(joined(one, step), joined(three, step));
  }
}

TEST(EpochDeal, GivesARankNothingWhereTheShortStepHasNothingForIt) {
  // 9 samples, steps of 8: the last has one, which goes to the larger rank.
  const EpochPlan plan = plan_epoch(9, 2, Positions{1, 7}, 1);
  EXPECT_EQ(EpochDeal(plan, 0, 2).micro_batches(), 1);
  EXPECT_EQ(EpochDeal(plan, 1, 2).micro_batches(), 2);
  EXPECT_THAT(EpochDeal(plan, 1, 2).positions(1), ElementsAre(8));
  EXPECT_THROW((void)EpochDeal(plan, 0, 2).positions(1), InternalError);
}

}  // namespace
}  // namespace vitsim
