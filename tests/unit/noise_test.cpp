#include "sim/sample/noise.h"

#include <cmath>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

/// A GPU of which only the spread matters.
class SpreadOnly final : public ComputeModel {
 public:
  explicit SpreadOnly(const Spread& known) { spread = known; }

  [[nodiscard]] MicroBatchTimes at(std::int64_t /*samples*/) const override { return {}; }
};

// Classes of one kind of GPU, each with its spread between runs.
Noise noise_of(const std::vector<Spread>& spreads) {
  std::vector<RankClass> classes;
  for (const Spread& spread : spreads) {
    classes.push_back({.gpu = "a",
                       .count = 1,
                       .compute = std::make_shared<SpreadOnly>(spread),
                       .held = {.part = VitSpec()}});
  }
  return {classes, {}, 1, 100};
}

// A micro-batch that was measured and one that was scaled: the kind is as unsure as the latter.
TEST(Noise, TheWidestSpreadOfAKindRulesInAnyOrder) {
  const Spread narrow{.run_sigma = 0.01, .run_degrees = 20};
  const Spread wide{.run_sigma = 0.04, .run_degrees = 3};
  const Noise one = noise_of({narrow, wide});
  const Noise other = noise_of({wide, narrow});
  ASSERT_EQ(one.kind_count(), 1U);
  EXPECT_EQ(one.run_sigma(0), 0.04);
  EXPECT_EQ(other.run_sigma(0), 0.04);
  for (int replicate = 0; replicate < 100; ++replicate) {
    EXPECT_EQ(one.run_factor(0, replicate), other.run_factor(0, replicate));
  }
  EXPECT_NE(one.run_factor(0, 0), noise_of({narrow}).run_factor(0, 0));
}

// Of equal spreads the one with fewer runs behind it has the longer tails.
TEST(Noise, OfEqualSpreadsTheOneOfFewerRunsRules) {
  const Spread many{.run_sigma = 0.04, .run_degrees = 30};
  const Spread few{.run_sigma = 0.04, .run_degrees = 2};
  const auto widest = [](const Noise& noise) {
    double most = 0;
    for (int replicate = 0; replicate < 100; ++replicate) {
      most = std::max(most, noise.run_factor(0, replicate));
    }
    return most;
  };
  EXPECT_EQ(widest(noise_of({many, few})), widest(noise_of({few})));
  EXPECT_EQ(widest(noise_of({few, many})), widest(noise_of({few})));
  EXPECT_LT(widest(noise_of({many})), widest(noise_of({few})));
}

TEST(Noise, IsKnownWhereEveryRanksIs) {
  const Spread known{.step_sigma = 0.0, .unit_sigma = 0.0, .run_sigma = 0.0};
  EXPECT_TRUE(noise_of({known, known}).is_known());
  EXPECT_TRUE(noise_of({known, known}).is_zero());
  EXPECT_FALSE(noise_of({known, {}}).is_known());
  EXPECT_FALSE(noise_of({{}, known}).is_known());
  EXPECT_FALSE(noise_of({known, {.run_sigma = 0.1}}).is_zero());
}

}  // namespace
}  // namespace vitsim
