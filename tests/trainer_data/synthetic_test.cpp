#include "trainer/data/synthetic.h"

#include <cmath>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

SyntheticDataset::Shape shape(std::int64_t size, std::int64_t channels, std::int64_t classes) {
  return {.samples = 100, .classes = classes, .image_size = size, .channels = channels};
}

TEST(SyntheticDataset, HasImagesOfAnyShape) {
  Image image;
  for (const std::int64_t size : {1, 3, 8, 31, 224}) {
    for (const std::int64_t channels : {1, 3, 4}) {
      const SyntheticDataset dataset(shape(size, channels, 7), 1, Split::kTrain);
      EXPECT_EQ(dataset.read(16, image), 2);  // 16 modulo 7
      EXPECT_EQ(image.height, size);
      EXPECT_EQ(image.width, size);
      EXPECT_EQ(image.channels, channels);
      EXPECT_EQ(dataset.normalisation().mean.size(), static_cast<std::size_t>(channels));
    }
  }
}

TEST(SyntheticDataset, IsAFunctionOfSeedSplitAndIndex) {
  const SyntheticDataset one(shape(16, 3, 5), 1, Split::kTrain);
  const SyntheticDataset same(shape(16, 3, 5), 1, Split::kTrain);
  const SyntheticDataset seed(shape(16, 3, 5), 2, Split::kTrain);
  const SyntheticDataset test(shape(16, 3, 5), 1, Split::kTest);
  Image image;
  Image other;
  std::set<std::string> distinct;
  for (std::int64_t index = 0; index < 20; ++index) {
    one.read(index, image);
    same.read(index, other);
    EXPECT_EQ(image.pixels, other.pixels);
    distinct.emplace(image.pixels.begin(), image.pixels.end());
    seed.read(index, other);
    distinct.emplace(other.pixels.begin(), other.pixels.end());
    test.read(index, other);
    distinct.emplace(other.pixels.begin(), other.pixels.end());
  }
  EXPECT_EQ(distinct.size(), 60U);
}

std::uint64_t fnv1a(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const std::uint8_t byte : bytes) {
    hash = (hash ^ byte) * 0x100000001b3U;
  }
  return hash;
}

TEST(SyntheticDataset, HasTheBytesOfItsDescription) {
  // What synthetic_reference.py, written from the description, prints.
  Image image;
  SyntheticDataset(shape(8, 3, 10), 1, Split::kTrain).read(0, image);
  EXPECT_EQ(fnv1a(image.pixels), 0x1dbfd0e9fef1a349U);
  SyntheticDataset(shape(31, 1, 10), 1, Split::kTest).read(123456789, image);
  EXPECT_EQ(fnv1a(image.pixels), 0x4ad603d7f3f8914U);
}

TEST(SyntheticDataset, CanBeLearnedFromOneSplitForTheOther) {
  // A class's mean training image, the correlation with which decides: a network can do what this
  // simple rule can. By chance one in ten would be right; the rule should be right nine times.
  constexpr std::int64_t kClasses = 10;
  auto large = shape(32, 3, kClasses);
  large.samples = 1000;
  const SyntheticDataset train(large, 3, Split::kTrain);
  const SyntheticDataset test(large, 3, Split::kTest);
  std::vector<std::vector<double>> mean(kClasses, std::vector<double>(32 * 32 * 3));
  Image image;
  for (std::int64_t index = 0; index < train.size(); ++index) {
    const auto label = static_cast<std::size_t>(train.read(index, image));
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      mean[label][i] += (image.pixels[i] - 128.0) / 100;
    }
  }
  int right = 0;
  for (std::int64_t index = 0; index < test.size(); ++index) {
    const std::int64_t label = test.read(index, image);
    std::int64_t best = 0;
    double best_score = -1e300;
    for (std::int64_t k = 0; k < kClasses; ++k) {
      double product = 0;
      double square = 0;
      for (std::size_t i = 0; i < image.pixels.size(); ++i) {
        const double weight = mean[static_cast<std::size_t>(k)][i];
        product += weight * (image.pixels[i] - 128.0);
        square += weight * weight;
      }
      if (const double score = product / std::sqrt(square); score > best_score) {
        best_score = score;
        best = k;
      }
    }
    right += best == label ? 1 : 0;
  }
  EXPECT_GT(right, 900);
}

TEST(SyntheticDataset, IsNormalisedByItsOwnMeanAndDeviation) {
  const SyntheticDataset dataset(shape(32, 3, 10), 5, Split::kTrain);
  Image image;
  double sum = 0;
  double squares = 0;
  double count = 0;
  for (std::int64_t index = 0; index < 100; ++index) {
    dataset.read(index, image);
    for (const std::uint8_t level : image.pixels) {
      const double value =
          (level / 255.0 - dataset.normalisation().mean[0]) / dataset.normalisation().deviation[0];
      sum += value;
      squares += value * value;
      count += 1;
    }
  }
  EXPECT_NEAR(sum / count, 0, 0.1);
  EXPECT_NEAR(std::sqrt(squares / count), 1, 0.15);
}

}  // namespace
}  // namespace vitsim
