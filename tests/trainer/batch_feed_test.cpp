#include "trainer/batch_feed.h"

#include <deque>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/trainer/scripted_device.h"
#include "trainer/step/train_step.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;

const Normalisation kColours = {.mean = {0.4914F, 0.4822F, 0.4465F},
                                .deviation = {0.2023F, 0.1994F, 0.2010F}};

// Hands out micro-batches whose label is their number, as soon as a test lets it.
class ScriptedLoader : public EpochLoader {
 public:
  ScriptedLoader(std::int64_t count, std::int64_t& ready) : count_(count), ready_(ready) {}

  Batch next() override {
    ready_ = std::max(ready_, taken_ + 1);  // as if it had waited
    const std::int64_t number = taken_++;
    if (number == 7) {
      throw UserError("micro-batch seven");
    }
    return {.images = at::full({2, 1, 1, 1}, number, at::kByte),
            .labels = at::full({2}, number, at::kLong)};
  }

  [[nodiscard]] bool is_ready() const override { return taken_ < count_ && taken_ < ready_; }

  [[nodiscard]] std::int64_t left() const override { return count_ - taken_; }

 private:
  std::int64_t count_;
  std::int64_t& ready_;
  std::int64_t taken_ = 0;
};

// Writes down when copies are launched and when compute joins them.
class CopyingDevice : public testing::ScriptedDevice {
 public:
  explicit CopyingDevice(bool beside) : beside_(beside) {}

  void run_copies(const std::function<void()>& work) override {
    log.emplace_back("copy");
    work();
  }

  void join_copies(const std::vector<at::Tensor>& made) override {
    ASSERT_EQ(made.size(), 2U);
    log.push_back("join " + std::to_string(made[1][0].item<std::int64_t>()));
  }

  [[nodiscard]] bool copies_beside_compute() const override { return beside_; }

  std::vector<std::string> log;

 private:
  bool beside_;
};

std::int64_t number_of(const Batch& batch) {
  return batch.labels[0].item<std::int64_t>();
}

BatchFeed scripted_feed(std::int64_t count, std::int64_t& ready, Device& device) {
  return {std::make_unique<ScriptedLoader>(count, ready),
          {.mean = {0}, .deviation = {1}},
          Precision::kFp32,
          device};
}

TEST(BatchFeed, NormalisesEveryLevelAsATableWould) {
  // 256 levels of three colours. The arithmetic is that of (level / 255 - mean) / deviation in
  // fp32, operation by operation, so that it agrees to the last bit.
  class AllLevels : public EpochLoader {
   public:
    Batch next() override {
      left_ = 0;
      return {
          .images =
              at::arange(256, at::kByte).view({1, 1, 16, 16}).expand({1, 3, 16, 16}).contiguous(),
          .labels = at::zeros({1}, at::kLong)};
    }

    [[nodiscard]] bool is_ready() const override { return left_ > 0; }

    [[nodiscard]] std::int64_t left() const override { return left_; }

   private:
    std::int64_t left_ = 1;
  };

  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kAmpFp16}) {
    const auto device = make_cpu_device();
    BatchFeed feed(std::make_unique<AllLevels>(), kColours, precision, *device);
    const Batch batch = feed.next();
    at::Tensor wanted = at::empty({1, 3, 256});
    for (std::int64_t channel = 0; channel < 3; ++channel) {
      const auto c = static_cast<std::size_t>(channel);
      for (std::int64_t level = 0; level < 256; ++level) {
        const float value =
            (static_cast<float>(level) / 255.0F - kColours.mean[c]) / kColours.deviation[c];
        wanted[0][channel][level] = value;
      }
    }
    wanted = wanted.view({1, 3, 16, 16});
    const at::ScalarType type = precision == Precision::kFp32   ? at::kFloat
                                : precision == Precision::kBf16 ? at::kBFloat16
                                                                : at::kHalf;
    EXPECT_EQ(batch.images.scalar_type(), type);
    EXPECT_TRUE(at::equal(batch.images, wanted.to(type))) << name(precision);
  }
}

TEST(BatchFeed, GivesTheModelWhatAutocastWouldHaveMadeOfFloats) {
  const VisionTransformer model(
      {.layers = 1, .width = 16, .heads = 2, .mlp = 32, .patch = 4, .image_size = 8, .classes = 3},
      1);
  const at::Tensor images = at::rand({2, 3, 8, 8});
  for (const Precision precision : {Precision::kAmpBf16, Precision::kFp32}) {
    EXPECT_TRUE(at::equal(logits(model, images, precision),
                          logits(model, images.to(product_type(precision)), precision)));
  }
}

TEST(BatchFeed, CopiesAheadOnlyWhatIsMadeAndKeepsTheOrder) {
  CopyingDevice device(/*beside=*/true);
  std::int64_t ready = 0;
  BatchFeed feed = scripted_feed(4, ready, device);
  feed.copy_ahead();  // nothing is made yet: the step goes on
  EXPECT_THAT(device.log, ElementsAre());
  EXPECT_EQ(number_of(feed.next()), 0);
  EXPECT_THAT(device.log, ElementsAre("copy", "join 0"));
  ready = 2;
  feed.copy_ahead();
  feed.copy_ahead();  // one is on its way: no second one
  EXPECT_EQ(feed.left(), 3);
  EXPECT_EQ(number_of(feed.next()), 1);
  EXPECT_THAT(device.log, ElementsAre("copy", "join 0", "copy", "join 1"));
  feed.wait_and_copy_ahead();
  EXPECT_EQ(number_of(feed.next()), 2);
  EXPECT_EQ(number_of(feed.next()), 3);
  EXPECT_EQ(feed.left(), 0);
  ready = 9;
  feed.copy_ahead();  // nothing is left
  feed.wait_and_copy_ahead();
  EXPECT_EQ(device.log.size(), 8U);
}

TEST(BatchFeed, CopiesNothingAheadWhereThatSavesNothing) {
  CopyingDevice device(/*beside=*/false);
  std::int64_t ready = 4;
  BatchFeed feed = scripted_feed(4, ready, device);
  feed.copy_ahead();
  feed.wait_and_copy_ahead();
  EXPECT_THAT(device.log, ElementsAre());
  EXPECT_EQ(number_of(feed.next()), 0);
}

TEST(BatchFeed, PassesOnWhatLoadingThrows) {
  CopyingDevice device(/*beside=*/true);
  std::int64_t ready = 0;
  BatchFeed feed = scripted_feed(9, ready, device);
  for (int i = 0; i < 7; ++i) {
    (void)feed.next();
  }
  EXPECT_THROW((void)feed.next(), UserError);
}

TEST(LoaderOptions, AreTheFilesAndPinnedOnlyForAGpu) {
  const auto device = make_cpu_device();
  const LoaderOptions options = loader_options({.workers = 3, .pinned = true}, *device);
  EXPECT_EQ(options.workers, 3);
  EXPECT_EQ(options.ahead, 6);
  EXPECT_FALSE(options.pin_memory);
}

}  // namespace
}  // namespace vitsim
