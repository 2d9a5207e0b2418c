#include "trainer/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/trainer_data/files.h"
#include "trainer/data/sample_reader.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TrainingSpec synthetic(std::int64_t samples) {
  TrainingSpec training;
  training.model.image_size = 16;
  training.model.classes = 4;
  training.dataset = {.name = "synthetic", .samples = samples};
  return training;
}

std::string refusal(const TrainingSpec& training) {
  try {
    open_dataset(training, Split::kTrain);
  } catch (const UserError& error) {
    return error.what();
  }
  return "opened";
}

TEST(OpenDataset, MakesTheSyntheticSetAsTheModelWantsIt) {
  const auto train = open_dataset(synthetic(100), Split::kTrain);
  EXPECT_EQ(train->size(), 100);
  EXPECT_EQ(train->classes(), 4);
  EXPECT_EQ(open_dataset(synthetic(100), Split::kTest)->size(), 20);
  EXPECT_EQ(open_dataset(synthetic(3), Split::kTest)->size(), 1);
}

TEST(OpenDataset, RefusesWhatCannotBeTrained) {
  TrainingSpec training = synthetic(100);
  training.dataset.name = "imagenet";
  EXPECT_THAT(refusal(training), HasSubstr("\"imagenet\" can be predicted, not trained"));
  EXPECT_THAT(refusal(synthetic(0)), HasSubstr("training.dataset.samples is missing"));
  training.dataset.name = "cifar10";
  EXPECT_THAT(
      refusal(training),
      AllOf(HasSubstr("training.dataset.path is missing"), HasSubstr("cifar-10-binary.tar.gz")));
}

TEST(OpenDataset, ReportsEverythingThatDoesNotFitTheModelAtOnce) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    testing::write_file(folder.path() / name / "x.png",
                        testing::png_bytes(1, 1, PNG_COLOR_TYPE_GRAY, 8, {{1}}));
  }
  TrainingSpec training = synthetic(6);
  training.dataset.name = "image-folder";
  training.dataset.path = folder.path();
  EXPECT_THAT(refusal(training),
              AllOf(HasSubstr("training.dataset.samples is 6, but \"image-folder\" has only 5"),
                    HasSubstr("training.classes is 4, but \"image-folder\" has 5 classes")));
  training.model.channels = 2;
  EXPECT_THAT(refusal(training), HasSubstr("training.channels is 2"));
  training.model.channels = 1;
  training.model.classes = 5;
  training.dataset.samples = 0;  // as many as there are
  const auto whole = open_dataset(training, Split::kTrain);
  EXPECT_EQ(counted_samples(training, *whole), 5);
  training.dataset.samples = 3;
  EXPECT_EQ(counted_samples(training, *whole), 3);
}

TEST(SampleReader, CutsEachSampleByItsOwnIndex) {
  TrainingSpec training = synthetic(20);
  training.augment = {.flip = true, .crop = true};
  const auto dataset = open_dataset(training, Split::kTrain);
  constexpr std::size_t kValues = 3 * 16 * 16;
  const std::vector<std::int64_t> indices = {3, 7, 11};
  std::vector<std::uint8_t> together(3 * kValues);
  std::vector<std::int64_t> labels(3);
  SampleReader(*dataset, training, 2).read(indices, together, labels, {});
  EXPECT_THAT(labels, ::testing::ElementsAre(3, 3, 3));  // modulo 4
  SampleReader other(*dataset, training, 2);
  for (std::size_t i = 3; i-- > 0;) {  // alone, and in another order
    std::vector<std::uint8_t> alone(kValues);
    other.read(std::span(indices).subspan(i, 1), alone, std::span(labels).first(1), {});
    EXPECT_TRUE(std::equal(
        alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(i * kValues)));
  }
}

TEST(SampleReader, StopsBetweenSamples) {
  const TrainingSpec training = synthetic(20);
  const auto dataset = open_dataset(training, Split::kTrain);
  std::stop_source stop;
  stop.request_stop();
  std::vector<std::uint8_t> images(2 * 3 * 16 * 16);
  std::vector<std::int64_t> labels(2, -7);
  const std::vector<std::int64_t> indices = {0, 1};
  SampleReader(*dataset, training, std::nullopt).read(indices, images, labels, stop.get_token());
  EXPECT_THAT(labels, ::testing::Each(-7));
}

}  // namespace
}  // namespace vitsim
