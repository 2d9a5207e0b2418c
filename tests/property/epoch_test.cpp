// Random epochs against a walk through their samples, one by one.
#include "models/experiment/epoch.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

constexpr int kCases = 3000;

std::int64_t draw(std::mt19937_64& random, std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random);
}

// Digits after the point as written: floor(samples * digits / 10^places) in whole numbers.
TEST(EpochProperty, SubsetIsExactForEveryDecimal) {
  std::mt19937_64 random(1);
  for (int i = 0; i < kCases; ++i) {
    const std::int64_t samples = draw(random, 1, 2'000'000);
    const auto places = static_cast<int>(draw(random, 1, 9));
    std::int64_t scale = 1;
    std::string digits;
    for (int place = 0; place < places; ++place) {
      scale *= 10;
      digits += static_cast<char>('0' + draw(random, 0, 9));
    }
    const double fraction = std::strtod(("0." + digits).c_str(), nullptr);
    EXPECT_EQ(subset_samples(samples, fraction), samples * std::stoll(digits) / scale)
        << samples << " x 0." << digits;
  }
}

// What one rank does, by walking through its samples.
struct Walk {
  std::int64_t steps = 0;
  std::vector<std::int64_t> last_micro_batches;
};

Walk walk(std::int64_t per_rank, std::int64_t micro_batch, std::int64_t accumulation) {
  Walk result;
  while (per_rank > 0) {
    ++result.steps;
    result.last_micro_batches.clear();
    for (std::int64_t i = 0; i < accumulation && per_rank > 0; ++i) {
      const std::int64_t taken = std::min(per_rank, micro_batch);
      result.last_micro_batches.push_back(taken);
      per_rank -= taken;
    }
  }
  return result;
}

TEST(EpochProperty, EqualMicroBatchesWalkThroughTheSampler) {
  std::mt19937_64 random(2);
  for (int i = 0; i < kCases; ++i) {
    const std::int64_t subset = draw(random, 1, 3000);
    const std::int64_t world = draw(random, 1, 12);
    const std::int64_t micro_batch = draw(random, 1, 40);
    const std::int64_t accumulation = draw(random, 1, 5);
    const EpochPlan plan = plan_epoch(subset, world, std::vector{micro_batch}, accumulation);

    // DistributedSampler pads the list of samples to a multiple of the world size.
    std::int64_t padded = subset;
    while (padded % world != 0) {
      ++padded;
    }
    const Walk expected = walk(padded / world, micro_batch, accumulation);
    ASSERT_EQ(plan.steps, expected.steps);
    ASSERT_EQ(plan.samples, padded);
    ASSERT_EQ(plan.full.size(), static_cast<std::size_t>(world));
    for (const StepShape& full : plan.full) {
      ASSERT_EQ(full.samples(), micro_batch * accumulation);
    }
    for (const StepShape& last : plan.last) {
      ASSERT_EQ(last.count, static_cast<std::int64_t>(expected.last_micro_batches.size()));
      ASSERT_EQ(last.size, micro_batch);
      ASSERT_EQ(last.last, expected.last_micro_batches.back());
    }
  }
}

TEST(EpochProperty, UnequalMicroBatchesLoseAndInventNoSample) {
  std::mt19937_64 random(3);
  for (int i = 0; i < kCases; ++i) {
    const std::int64_t subset = draw(random, 1, 3000);
    const std::int64_t world = draw(random, 2, 9);
    const std::int64_t accumulation = draw(random, 1, 4);
    std::vector<std::int64_t> batches;
    for (std::int64_t rank = 0; rank < world; ++rank) {
      batches.push_back(draw(random, 1, 20));
    }
    if (std::ranges::adjacent_find(batches, std::ranges::not_equal_to()) == batches.end()) {
      ++batches[0];
    }
    const EpochPlan plan = plan_epoch(subset, world, batches, accumulation);
    const std::int64_t sum = std::accumulate(batches.begin(), batches.end(), std::int64_t{0});

    // Steps of the whole job until nothing is left.
    std::int64_t left = subset;
    std::int64_t steps = 1;
    for (; left > accumulation * sum; left -= accumulation * sum) {
      ++steps;
    }
    ASSERT_EQ(plan.steps, steps);
    std::int64_t dealt = 0;
    for (std::size_t rank = 0; rank < batches.size(); ++rank) {
      ASSERT_EQ(plan.full[rank].samples(), batches[rank] * accumulation);
      const StepShape& last = plan.last[rank];
      dealt += last.samples();
      // In proportion: less than one sample off, never more than a full step.
      const double fair =
          static_cast<double>(left) * static_cast<double>(batches[rank]) / static_cast<double>(sum);
      ASSERT_LT(std::abs(static_cast<double>(last.samples()) - fair), 1);
      ASSERT_LE(last.samples(), plan.full[rank].samples());
      ASSERT_LE(last.count, accumulation);
      ASSERT_TRUE(last.count == 0 || (last.last >= 1 && last.last <= last.size));
    }
    ASSERT_EQ(dealt, left);
    ASSERT_EQ(plan.samples, subset);

    // Largest remainder, the lower rank first: whoever was rounded up has no smaller a remainder
    // than whoever was not.
    for (std::size_t up = 0; up < batches.size(); ++up) {
      for (std::size_t down = 0; down < batches.size(); ++down) {
        const bool was_up = plan.last[up].samples() > left * batches[up] / sum;
        const bool was_down = plan.last[down].samples() == left * batches[down] / sum;
        if (was_up && was_down) {
          const std::int64_t remainder_up = left * batches[up] % sum;
          const std::int64_t remainder_down = left * batches[down] % sum;
          ASSERT_TRUE(remainder_up > remainder_down ||
                      (remainder_up == remainder_down && up < down));
        }
      }
    }
  }
}

}  // namespace
}  // namespace vitsim
