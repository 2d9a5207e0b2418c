#include "trainer/data/loader.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "trainer/data/transform.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// Samples whose label is their index, so that the order shows; 2 x 2 grey pixels of that level.
class NumberedDataset : public Dataset {
 public:
  explicit NumberedDataset(std::int64_t samples) : samples_(samples) {}

  [[nodiscard]] std::int64_t size() const override { return samples_; }

  [[nodiscard]] std::int64_t classes() const override { return samples_; }

  [[nodiscard]] const Normalisation& normalisation() const override { return normalisation_; }

  std::int64_t read(std::int64_t index, Image& image) const override {
    image.reshape(2, 2, 1);
    image.pixels.assign(4, static_cast<std::uint8_t>(index));
    return index;
  }

 private:
  std::int64_t samples_;
  Normalisation normalisation_ = {.mean = {0}, .deviation = {1.0F / 255}};
};

TrainingSpec grey_training() {
  TrainingSpec training;
  training.model.image_size = 2;
  training.model.channels = 1;
  training.seed = 0;
  return training;
}

std::vector<std::int64_t> labels_of(const Batch& batch) {
  const auto* data = batch.labels.const_data_ptr<std::int64_t>();
  return {data, data + batch.labels.numel()};
}

std::vector<std::int64_t> all_labels(EpochLoader& loader) {
  std::vector<std::int64_t> labels;
  while (loader.left() > 0) {
    const auto some = labels_of(loader.next());
    labels.insert(labels.end(), some.begin(), some.end());
  }
  return labels;
}

TEST(EpochLoader, ShufflesAsTorchDoes) {
  // torch.manual_seed(0); torch.randperm(10), as PyTorch's documentation and users print it:
  // 4, 1, 7, 5, 3, 9, 0, 8, 6, 2. Seed 0 and epoch 0 make the generator's seed 0.
  const NumberedDataset dataset(10);
  const std::vector<std::int64_t> micro = {4};
  auto loader = start_epoch(dataset, grey_training(), plan_epoch(10, 1, micro, 1), 0, 1, 0, 0);
  EXPECT_EQ(loader->left(), 3);
  EXPECT_THAT(labels_of(loader->next()), ElementsAre(4, 1, 7, 5));
  EXPECT_THAT(labels_of(loader->next()), ElementsAre(3, 9, 0, 8));
  EXPECT_THAT(labels_of(loader->next()), ElementsAre(6, 2));
  EXPECT_THROW(loader->next(), InternalError);
}

TEST(EpochLoader, SeedsTheOrderWithSeedPlusEpoch) {
  const NumberedDataset dataset(100);
  TrainingSpec training = grey_training();
  const std::vector<std::int64_t> micro = {10};
  const EpochPlan plan = plan_epoch(100, 1, micro, 1);
  training.seed = 5;
  const auto fifth = all_labels(*start_epoch(dataset, training, plan, 0, 1, 2, 0));
  training.seed = 7;
  EXPECT_THAT(all_labels(*start_epoch(dataset, training, plan, 0, 1, 0, 0)),
              ElementsAreArray(fifth));
  EXPECT_NE(all_labels(*start_epoch(dataset, training, plan, 0, 1, 1, 0)), fifth);
}

TEST(EpochLoader, GivesRanksTheirShareOfTheOrderAndOfThePadding) {
  // The order of 10 on 4 ranks: 4 1 7 5 | 3 9 0 8 | 6 2 and the padding 4 1.
  const NumberedDataset dataset(10);
  const std::vector<std::int64_t> micro = {2};
  const EpochPlan plan = plan_epoch(10, 4, micro, 1);
  const auto of_rank = [&](std::int64_t rank) {
    return all_labels(*start_epoch(dataset, grey_training(), plan, rank, 4, 0, 0));
  };
  EXPECT_THAT(of_rank(0), ElementsAre(4, 3, 6));
  EXPECT_THAT(of_rank(1), ElementsAre(1, 9, 2));
  EXPECT_THAT(of_rank(2), ElementsAre(7, 0, 4));
  EXPECT_THAT(of_rank(3), ElementsAre(5, 8, 1));
}

TEST(EpochLoader, VisitsOnlyTheSubset) {
  const NumberedDataset dataset(100);
  const std::vector<std::int64_t> micro = {7};
  auto labels =
      all_labels(*start_epoch(dataset, grey_training(), plan_epoch(30, 1, micro, 1), 0, 1, 3, 0));
  std::ranges::sort(labels);
  std::vector<std::int64_t> first_thirty(30);
  std::iota(first_thirty.begin(), first_thirty.end(), 0);
  EXPECT_EQ(labels, first_thirty);
}

TEST(EpochLoader, AsksTheDataSetWhichSamplesMakeUpAPart) {
  class SpreadDataset : public NumberedDataset {
   public:
    SpreadDataset() : NumberedDataset(100) {}

    [[nodiscard]] std::int64_t index_in_part(std::int64_t number,
                                             std::int64_t count) const override {
      return number * size() / count;
    }
  };

  // A part of 10 of 100 is 0, 10, ..., 90, in the order of randperm(10): 4, 1, 7, ...
  const SpreadDataset dataset;
  const std::vector<std::int64_t> micro = {10};
  EXPECT_THAT(
      all_labels(*start_epoch(dataset, grey_training(), plan_epoch(10, 1, micro, 1), 0, 1, 0, 0)),
      ElementsAre(40, 10, 70, 50, 30, 90, 0, 80, 60, 20));
}

TEST(EpochLoader, StartsAtAnyStepWithTheSameBytesOnAnyNumberOfThreads) {
  TrainingSpec training;
  training.model.image_size = 40;
  training.model.classes = 5;
  training.dataset = {.name = "synthetic", .samples = 60};
  training.augment = {.flip = true, .crop = true};
  const auto dataset = open_dataset(training, Split::kTrain);
  const std::vector<std::int64_t> micro = {3, 5};
  const EpochPlan plan = plan_epoch(60, 2, micro, 2);  // 4 steps of 16, the last has 12

  std::vector<Batch> whole;
  auto loader = start_epoch(*dataset, training, plan, 1, 2, 4, 0, {.workers = 1, .ahead = 1});
  while (loader->left() > 0) {
    whole.push_back(loader->next());
  }
  ASSERT_EQ(whole.size(), 8U);
  for (const std::int64_t first_step : {0, 1, 3, 4}) {
    auto resumed =
        start_epoch(*dataset, training, plan, 1, 2, 4, first_step, {.workers = 3, .ahead = 5});
    ASSERT_EQ(resumed->left(), 8 - 2 * first_step);
    for (auto i = static_cast<std::size_t>(2 * first_step); i < whole.size(); ++i) {
      const Batch batch = resumed->next();
      ASSERT_TRUE(at::equal(batch.images, whole[i].images)) << "micro-batch " << i;
      ASSERT_TRUE(at::equal(batch.labels, whole[i].labels)) << "micro-batch " << i;
    }
  }
}

TEST(EpochLoader, ShapesImagesForTheModel) {
  TrainingSpec training;
  training.model.image_size = 24;
  training.dataset = {.name = "synthetic", .samples = 4};
  const auto dataset = open_dataset(training, Split::kTrain);
  const std::vector<std::int64_t> micro = {4};
  const Batch batch =
      start_epoch(*dataset, training, plan_epoch(4, 1, micro, 1), 0, 1, 0, 0)->next();
  EXPECT_THAT(batch.images.sizes(), ElementsAre(4, 3, 24, 24));
  EXPECT_EQ(batch.images.scalar_type(), at::kByte);
  EXPECT_TRUE(batch.images.is_contiguous());
  EXPECT_THAT(batch.labels.sizes(), ElementsAre(4));
  EXPECT_EQ(batch.labels.scalar_type(), at::kLong);
}

TEST(EpochLoader, CarriesTheDataSetsFailureToTheConsumer) {
  class FailingDataset final : public NumberedDataset {
   public:
    using NumberedDataset::NumberedDataset;

    std::int64_t read(std::int64_t index, Image& image) const override {
      if (index == 9) {  // fifth or sixth in the order of seed 0
        throw UserError("sample nine");
      }
      return NumberedDataset::read(index, image);
    }
  };

  const FailingDataset dataset(10);
  const std::vector<std::int64_t> micro = {2};
  auto loader = start_epoch(dataset, grey_training(), plan_epoch(10, 1, micro, 1), 0, 1, 0, 0);
  EXPECT_THAT(labels_of(loader->next()), ElementsAre(4, 1));
  EXPECT_THAT(labels_of(loader->next()), ElementsAre(7, 5));
  EXPECT_THROW(loader->next(), UserError);
}

TEST(EvaluationLoader, VisitsEverySampleOnceOverAllRanks) {
  for (const std::int64_t samples : {1, 3, 10, 12}) {
    const NumberedDataset dataset(samples);
    for (const std::int64_t world : {1, 3, 4}) {
      std::vector<std::int64_t> seen;
      for (std::int64_t rank = 0; rank < world; ++rank) {
        const auto own = all_labels(*start_evaluation(dataset, grey_training(), 2, rank, world));
        seen.insert(seen.end(), own.begin(), own.end());
      }
      std::ranges::sort(seen);
      std::vector<std::int64_t> once(static_cast<std::size_t>(samples));
      std::iota(once.begin(), once.end(), 0);
      EXPECT_EQ(seen, once) << samples << " samples on " << world;
    }
  }
}

TEST(EvaluationLoader, DoesNotAugment) {
  // Level i everywhere: a moved window would bring in black.
  TrainingSpec training = grey_training();
  training.augment = {.flip = true, .crop = true};
  training.model.image_size = 4;
  const NumberedDataset dataset(50);
  auto loader = start_evaluation(dataset, training, 50, 0, 1);
  const Batch batch = loader->next();
  for (std::int64_t i = 0; i < 50; ++i) {
    EXPECT_TRUE(batch.images[i].eq(i).all().item<bool>());
  }
}

// Resizing against the operator that torchvision's Resize calls on float tensors.
TEST(ImageTransform, ResizesAsTorchDoes) {
  std::uint32_t state = 1;
  for (const auto& [in, out] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {32, 224}, {224, 32}, {375, 224}, {33, 32}, {31, 32}, {100, 7}, {5, 64}, {64, 64}}) {
    Image image;
    image.reshape(in, in, 3);
    at::Tensor input = at::empty({1, 3, in, in});
    auto* values = input.mutable_data_ptr<float>();
    for (std::int64_t y = 0; y < in; ++y) {
      for (std::int64_t x = 0; x < in; ++x) {
        for (std::int64_t channel = 0; channel < 3; ++channel) {
          state = state * 1664525U + 1013904223U;
          const auto level = static_cast<std::uint8_t>(state >> 24U);
          image.row(y)[3 * x + channel] = level;
          values[(channel * in + y) * in + x] = level;
        }
      }
    }
    const at::Tensor wanted =
        at::_upsample_bilinear2d_aa(input, {out, out}, /*align_corners=*/false);
    const at::Tensor got = at::empty({1, 3, out, out}, at::kByte);
    ImageTransform(out).apply(
        image, {}, {got.mutable_data_ptr<std::uint8_t>(), static_cast<std::size_t>(got.numel())});
    // Torch computes positions in single precision: near 375 they are off by 3e-5 inputs, times
    // levels of 255. Besides, a level is rounded by at most a half.
    EXPECT_LT((got - wanted).abs().max().item<float>(), 0.5F + 1e-2F) << in << " to " << out;
  }
}

}  // namespace
}  // namespace vitsim
