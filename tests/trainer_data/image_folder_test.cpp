#include "trainer/data/image_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/trainer_data/files.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::jpeg_bytes;
using testing::plain_image;
using testing::png_bytes;
using testing::TemporaryFolder;
using testing::write_file;

void write_grey(const std::filesystem::path& file, std::uint8_t level) {
  write_file(file, png_bytes(1, 1, PNG_COLOR_TYPE_GRAY, 8, {{level}}));
}

std::string refusal(const std::filesystem::path& path, Split split) {
  try {
    const ImageFolderDataset dataset(path, split, 3, OnUnreadable::kReplace);
  } catch (const UserError& error) {
    return error.what();
  }
  return "opened";
}

// Label and first level of sample `index`.
std::pair<std::int64_t, int> sample(const Dataset& dataset, std::int64_t index) {
  Image image;
  const std::int64_t label = dataset.read(index, image);
  return {label, image.pixels.at(0)};
}

TEST(ImageFolderDataset, LabelsByTheSortedClassFolders) {
  const TemporaryFolder folder;
  const auto train = folder.path() / "train";
  write_grey(train / "cat" / "b.png", 20);
  write_grey(train / "cat" / "a.PNG", 10);
  write_file(train / "cat" / "notes.txt", {});
  write_grey(train / "ant" / "deep" / "z.png", 30);
  write_file(train / "bee" / "x.JPEG", jpeg_bytes(plain_image(8, 8, {40})));
  const ImageFolderDataset dataset(folder.path(), Split::kTrain, 3, OnUnreadable::kStop);
  ASSERT_EQ(dataset.size(), 4);
  EXPECT_THAT(dataset.class_names(), ElementsAre("ant", "bee", "cat"));
  EXPECT_EQ(sample(dataset, 0), std::pair(std::int64_t{0}, 30));
  EXPECT_EQ(sample(dataset, 1), std::pair(std::int64_t{1}, 40));
  EXPECT_EQ(sample(dataset, 2), std::pair(std::int64_t{2}, 10));
  EXPECT_EQ(sample(dataset, 3), std::pair(std::int64_t{2}, 20));
}

TEST(ImageFolderDataset, APartHasOfEachClassAsMuch) {
  const TemporaryFolder folder;
  for (int i = 0; i < 8; ++i) {
    write_grey(folder.path() / "ant" / (std::to_string(i) + ".png"), 1);
    if (i < 4) {
      write_grey(folder.path() / "bee" / (std::to_string(i) + ".png"), 2);
    }
  }
  const ImageFolderDataset dataset(folder.path(), Split::kTrain, 3, OnUnreadable::kStop);
  // 12 files, the ants first: every second of them, of which 4 are ants.
  std::vector<std::int64_t> half;
  std::int64_t ants = 0;
  for (std::int64_t number = 0; number < 6; ++number) {
    half.push_back(dataset.index_in_part(number, 6));
    ants += sample(dataset, half.back()).first == 0 ? 1 : 0;
  }
  EXPECT_THAT(half, ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_EQ(ants, 4);
  // The whole is in the order of the files.
  for (std::int64_t number = 0; number < 12; ++number) {
    EXPECT_EQ(dataset.index_in_part(number, 12), number);
  }
}

TEST(ImageFolderDataset, LabelsTheTestSplitByTheTrainingClasses) {
  const TemporaryFolder folder;
  write_grey(folder.path() / "train" / "ant" / "a.png", 1);
  write_grey(folder.path() / "train" / "bee" / "a.png", 2);
  write_grey(folder.path() / "val" / "bee" / "a.png", 3);
  const ImageFolderDataset test(folder.path(), Split::kTest, 1, OnUnreadable::kStop);
  ASSERT_EQ(test.size(), 1);
  EXPECT_EQ(test.classes(), 2);
  EXPECT_EQ(sample(test, 0), std::pair(std::int64_t{1}, 3));

  write_grey(folder.path() / "val" / "cow" / "a.png", 3);
  EXPECT_THAT(refusal(folder.path(), Split::kTest),
              HasSubstr("class cow is not among the training classes"));
}

TEST(ImageFolderDataset, TakesAFolderOfClassesAsTrainingSplit) {
  const TemporaryFolder folder;
  write_grey(folder.path() / "ant" / "a.png", 1);
  EXPECT_EQ(ImageFolderDataset(folder.path(), Split::kTrain, 3, OnUnreadable::kStop).size(), 1);
  EXPECT_THAT(refusal(folder.path(), Split::kTest), HasSubstr("neither a folder test nor val"));
}

TEST(ImageFolderDataset, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal(folder.path() / "none", Split::kTrain), HasSubstr("none is no folder"));
  EXPECT_THAT(refusal(folder.path(), Split::kTrain), HasSubstr("no class folders"));
  write_grey(folder.path() / "ant" / "a.png", 1);
  write_file(folder.path() / "bee" / "a.gif", {});
  write_file(folder.path() / "cow" / "a.gif", {});
  EXPECT_THAT(refusal(folder.path(), Split::kTrain),
              AllOf(HasSubstr("bee: no .jpg, .jpeg or .png file"),
                    HasSubstr("cow: no .jpg, .jpeg or .png file")));
}

class OneUnreadable : public ::testing::Test {
 protected:
  OneUnreadable() {
    const auto broken = jpeg_bytes(plain_image(64, 64, {1, 2, 3}));
    write_grey(folder_.path() / "ant" / "a.png", 10);
    write_file(folder_.path() / "ant" / "b.jpg", std::span(broken).first(broken.size() / 2));
    write_grey(folder_.path() / "bee" / "c.png", 30);
    write_file(folder_.path() / "bee" / "d.png", {});
  }

  TemporaryFolder folder_;
};

TEST_F(OneUnreadable, IsReplacedByTheNextNamedAndCountedOnce) {
  const ImageFolderDataset dataset(folder_.path(), Split::kTrain, 3, OnUnreadable::kReplace);
  EXPECT_TRUE(dataset.unreadable().empty());
  for (int epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(sample(dataset, 0), std::pair(std::int64_t{0}, 10));
    EXPECT_EQ(sample(dataset, 1), std::pair(std::int64_t{1}, 30));  // with the replacement's label
    EXPECT_EQ(sample(dataset, 2), std::pair(std::int64_t{1}, 30));
    EXPECT_EQ(sample(dataset, 3), std::pair(std::int64_t{0}, 10));
  }
  EXPECT_THAT(dataset.unreadable(),
              ElementsAre(HasSubstr("ant/b.jpg: "), HasSubstr("bee/d.png: the file is empty")));
}

TEST_F(OneUnreadable, StopsTheRunWhereAsked) {
  const ImageFolderDataset dataset(folder_.path(), Split::kTrain, 3, OnUnreadable::kStop);
  Image image;
  EXPECT_EQ(dataset.read(0, image), 0);
  try {
    dataset.read(1, image);
    FAIL() << "was read";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("ant/b.jpg: "));
  }
}

TEST(ImageFolderDataset, StopsWhereNothingCanBeRead) {
  const TemporaryFolder folder;
  write_file(folder.path() / "ant" / "a.png", {});
  write_file(folder.path() / "ant" / "b.png", {});
  const ImageFolderDataset dataset(folder.path(), Split::kTrain, 3, OnUnreadable::kReplace);
  Image image;
  try {
    dataset.read(0, image);
    FAIL() << "was read";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("2 images in a row"), HasSubstr("a.png")));
  }
}

}  // namespace
}  // namespace vitsim
