#include "trainer/data/transform.h"

#include <cmath>
#include <map>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer_data/files.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

// Levels of one grey image, its rows listed, through the transform.
std::vector<float> resized(const std::vector<std::vector<int>>& rows,
                           std::int64_t size,
                           const Cut& cut = {}) {
  Image image;
  image.reshape(
      static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows.front().size()), 1);
  for (std::size_t y = 0; y < rows.size(); ++y) {
    for (std::size_t x = 0; x < rows[y].size(); ++x) {
      image.row(static_cast<std::int64_t>(y))[x] = static_cast<std::uint8_t>(rows[y][x]);
    }
  }
  std::vector<std::uint8_t> out(static_cast<std::size_t>(size * size));
  ImageTransform(size).apply(image, cut, out);
  return {out.begin(), out.end()};
}

MATCHER_P(NearRows, expected, "") {
  return ExplainMatchResult(Pointwise(FloatNear(1e-3F), expected), arg, result_listener);
}

TEST(AxisWeights, EnlargesBilinearly) {
  // 2 -> 4: centres at 0.25, 0.75, 1.25, 1.75 of inputs centred at 0.5 and 1.5. The first is left
  // of the first centre and repeats it; the second is a quarter of the way to the second input.
  const AxisWeights axis = axis_weights(2, 4, 0, 4);
  ASSERT_EQ(axis.taps, 2);
  EXPECT_THAT(axis.first, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(axis.weight, NearRows(std::vector<float>{1, 0, 0.75F, 0.25F, 0.25F, 0.75F, 0, 1}));
}

TEST(AxisWeights, ShrinksWithATriangleAsWideAsTwoOutputs) {
  // 8 -> 4, scale 2, reach 2: output 1 is centred at 3; inputs 1..4 (centres 1.5 .. 4.5) lie 1.5,
  // 0.5, 0.5, 1.5 away: weights 0.25, 0.75, 0.75, 0.25, sum 2. Output 0 is centred at 1: inputs 0,
  // 1, 2 at 0.5, 0.5, 1.5 away: 0.75, 0.75, 0.25 by their sum 1.75.
  const AxisWeights axis = axis_weights(8, 4, 0, 2);
  ASSERT_EQ(axis.taps, 4);
  EXPECT_THAT(axis.first, ElementsAre(0, 1));
  EXPECT_THAT(axis.weight,
              NearRows(std::vector<float>{
                  3 / 7.0F, 3 / 7.0F, 1 / 7.0F, 0, 0.125F, 0.375F, 0.375F, 0.125F}));
}

TEST(AxisWeights, CopiesWhereNothingIsResized) {
  const AxisWeights axis = axis_weights(5, 5, 1, 3);
  ASSERT_EQ(axis.taps, 1);
  EXPECT_THAT(axis.first, ElementsAre(1, 2, 3));
  EXPECT_THAT(axis.weight, ElementsAre(1, 1, 1));
}

TEST(AxisWeights, SumToOneInsideOfTheInput) {
  for (const std::int64_t in : {1, 2, 3, 31, 32, 375, 500, 4001}) {
    for (const std::int64_t out : {1, 2, 7, 32, 224}) {
      const AxisWeights axis = axis_weights(in, out, 0, out);
      for (std::int64_t i = 0; i < out; ++i) {
        const auto* weight = axis.weight.data() + i * axis.taps;
        ASSERT_NEAR(std::accumulate(weight, weight + axis.taps, 0.0), 1, 1e-5);
        ASSERT_GE(axis.first[static_cast<std::size_t>(i)], 0);
        ASSERT_LE(axis.first[static_cast<std::size_t>(i)] + axis.taps, in);
        // The weights' centre of mass is the output's centre, but where the edge cuts them off.
        double centre = 0;
        for (std::int64_t tap = 0; tap < axis.taps; ++tap) {
          centre += weight[tap] *
                    (static_cast<double>(axis.first[static_cast<std::size_t>(i)] + tap) + 0.5);
        }
        const double scale = static_cast<double>(in) / static_cast<double>(out);
        const double wanted = (static_cast<double>(i) + 0.5) * scale;
        const double reach = std::max(1.0, scale);
        if (wanted - reach >= 0 && wanted + reach <= static_cast<double>(in)) {
          // The filter samples at whole inputs: at most half an input off when it shrinks.
          ASSERT_NEAR(centre, wanted, scale <= 1 ? 1e-4 : 0.5) << in << " to " << out;
        }
      }
    }
  }
}

TEST(AxisWeights, OfAWindowAreThoseOfTheWhole) {
  const AxisWeights whole = axis_weights(500, 298, 0, 298);
  const AxisWeights window = axis_weights(500, 298, 37, 224);
  ASSERT_EQ(whole.taps, window.taps);
  for (std::int64_t i = 0; i < 224; ++i) {
    EXPECT_EQ(window.first[static_cast<std::size_t>(i)],
              whole.first[static_cast<std::size_t>(i + 37)]);
    EXPECT_EQ(window.weight[static_cast<std::size_t>(i * window.taps)],
              whole.weight[static_cast<std::size_t>((i + 37) * whole.taps)]);
  }
}

TEST(ImageTransform, LeavesAnImageOfTheRightSizeAsItIs) {
  EXPECT_THAT(resized({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, 3),
              NearRows(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(ImageTransform, EnlargesBothWays) {
  // Bilinear is the product of both axes; weights of 2 -> 4 are 1, 3/4, 1/4, 0. With values 0, 16
  // above 32, 48 rows add 0, 8, 24, 32 and columns 0, 4, 12, 16.
  EXPECT_THAT(
      resized({{0, 16}, {32, 48}}, 4),
      NearRows(std::vector<float>{0, 4, 12, 16, 8, 12, 20, 24, 24, 28, 36, 40, 32, 36, 44, 48}));
}

TEST(ImageTransform, ShrinksWithoutAliasing) {
  // Columns alternate 0 and 200. Without antialiasing two outputs would see 0, 200 or 100 by
  // chance; the triangle over 4 inputs a side (8 -> 2) gives, for output 0 centred at 2, inputs
  // 0..5 the weights 5, 7, 7, 5, 3, 1 of 28: 200 * (7 + 5 + 1) / 28 = 92.857; output 1 is its
  // mirror image: inputs 2..7 weigh 1, 3, 5, 7, 7, 5: 200 * (3 + 7 + 5) / 28 = 107.143. Levels are
  // rounded to 93 and 107.
  const std::vector<std::vector<int>> stripes(8, {0, 200, 0, 200, 0, 200, 0, 200});
  EXPECT_THAT(resized(stripes, 2), NearRows(std::vector<float>{93, 107, 93, 107}));
}

TEST(ImageTransform, TakesTheCentreOfALongImage) {
  // 2 rows of 6 to 2 x 2: no resizing, columns 2 and 3 are the centre.
  EXPECT_THAT(resized({{0, 1, 2, 3, 4, 5}, {10, 11, 12, 13, 14, 15}}, 2),
              NearRows(std::vector<float>{2, 3, 12, 13}));
  EXPECT_THAT(resized({{0, 1}, {2, 3}, {4, 5}, {6, 7}}, 2),
              NearRows(std::vector<float>{2, 3, 4, 5}));
}

TEST(ImageTransform, MovesTheWindowAndFillsWithBlack) {
  const std::vector<std::vector<int>> image = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  EXPECT_THAT(resized(image, 3, {.down = 1, .right = 0}),
              NearRows(std::vector<float>{4, 5, 6, 7, 8, 9, 0, 0, 0}));
  EXPECT_THAT(resized(image, 3, {.down = -1, .right = 1}),
              NearRows(std::vector<float>{0, 0, 0, 2, 3, 0, 5, 6, 0}));
  EXPECT_THAT(resized(image, 3, {.down = 0, .right = -2}),
              NearRows(std::vector<float>{0, 0, 1, 0, 0, 4, 0, 0, 7}));
}

TEST(ImageTransform, MirrorsAfterMoving) {
  const std::vector<std::vector<int>> image = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  EXPECT_THAT(resized(image, 3, {.down = 0, .right = 0, .flip = true}),
              NearRows(std::vector<float>{3, 2, 1, 6, 5, 4, 9, 8, 7}));
  EXPECT_THAT(resized(image, 3, {.down = 0, .right = 1, .flip = true}),
              NearRows(std::vector<float>{0, 3, 2, 0, 6, 5, 0, 9, 8}));
}

TEST(ImageTransform, RoundsToTheNearestLevel) {
  // 2 -> 4 weighs 1, 3/4, 1/4, 0: between 10 and 11 lie 10.25 and 10.75, which are 10 and 11. White
  // stays white, whatever the weights' rounding.
  EXPECT_THAT(
      resized({{10, 11}, {10, 11}}, 4),
      NearRows(std::vector<float>{10, 10, 11, 11, 10, 10, 11, 11, 10, 10, 11, 11, 10, 10, 11, 11}));
  const std::vector<std::vector<int>> white(37, std::vector<int>(37, 255));
  EXPECT_THAT(resized(white, 224), ::testing::Each(255));
}

TEST(ImageTransform, PutsEachChannelIntoItsPlane) {
  std::vector<std::uint8_t> out(3 * 4 * 4);
  ImageTransform(4).apply(testing::plain_image(2, 2, {51, 102, 255}), {}, out);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], 51);
    EXPECT_EQ(out[16 + i], 102);
    EXPECT_EQ(out[32 + i], 255);
  }
}

TEST(ImageTransform, ServesImagesOfAnySizeOneAfterTheOther) {
  ImageTransform transform(5);
  std::vector<std::uint8_t> out(25);
  for (const auto& [height, width] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 40}, {40, 1}, {3, 200}, {201, 7}, {5, 5}, {1000, 999}}) {
    transform.apply(testing::plain_image(height, width, {77}), {}, out);
    for (const std::uint8_t level : out) {
      ASSERT_EQ(level, 77) << height << " x " << width;
    }
  }
}

TEST(RandomCut, IsAFunctionOfSeedEpochAndIndex) {
  const AugmentSpec both = {.flip = true, .crop = true};
  const Cut cut = random_cut(both, 1, 2, 3, 32, 32);
  EXPECT_EQ(cut, random_cut(both, 1, 2, 3, 32, 32));
  int same_seed = 0;
  int same_epoch = 0;
  int same_index = 0;
  for (std::int64_t i = 0; i < 100; ++i) {
    const Cut base = random_cut(both, 1, 2, i, 32, 32);
    same_seed += base == random_cut(both, 9, 2, i, 32, 32) ? 1 : 0;
    same_epoch += base == random_cut(both, 1, 3, i, 32, 32) ? 1 : 0;
    same_index += base == random_cut(both, 1, 2, i + 100, 32, 32) ? 1 : 0;
  }
  // One in 9 * 9 * 2 = 162 agrees by chance; six of a hundred would be 1 in 10^4.
  EXPECT_LT(same_seed, 6);
  EXPECT_LT(same_epoch, 6);
  EXPECT_LT(same_index, 6);
}

TEST(RandomCut, TakesEveryPositionAndSideEquallyOften) {
  // 32 pixels: an eighth is 4, so 9 positions each way. 9000 draws: 1000 each, standard deviation
  // sqrt(9000 * 1/9 * 8/9) = 30; flips 4500, standard deviation 47. Five of them are allowed.
  const AugmentSpec both = {.flip = true, .crop = true};
  std::map<std::int64_t, int> down;
  std::map<std::int64_t, int> right;
  int flips = 0;
  for (std::int64_t index = 0; index < 9000; ++index) {
    const Cut cut = random_cut(both, 5, 0, index, 32, 32);
    ++down[cut.down];
    ++right[cut.right];
    flips += cut.flip ? 1 : 0;
  }
  ASSERT_EQ(down.size(), 9U);
  ASSERT_EQ(right.size(), 9U);
  for (std::int64_t position = -4; position <= 4; ++position) {
    EXPECT_NEAR(down[position], 1000, 150);
    EXPECT_NEAR(right[position], 1000, 150);
  }
  EXPECT_NEAR(flips, 4500, 240);
}

TEST(RandomCut, DoesOnlyWhatIsAskedAndTheSameOfIt) {
  for (std::int64_t index = 0; index < 50; ++index) {
    const Cut both = random_cut({.flip = true, .crop = true}, 5, 0, index, 64, 32);
    EXPECT_EQ(random_cut({}, 5, 0, index, 64, 32), Cut{});
    EXPECT_EQ(random_cut({.flip = true}, 5, 0, index, 64, 32), (Cut{.flip = both.flip}));
    EXPECT_EQ(random_cut({.crop = true}, 5, 0, index, 64, 32),
              (Cut{.down = both.down, .right = both.right}));
  }
}

}  // namespace
}  // namespace vitsim
