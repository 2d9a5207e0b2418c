#include "trainer/data/cifar.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/trainer_data/files.h"
#include "trainer/data/archive.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The formats with three records per training file and two per test file.
CifarFormat small(CifarFormat format) {
  format.records_per_train_file = 3;
  format.records_per_test_file = 2;
  return format;
}

// Records whose labels are given and whose red, green and blue are 10, 20 and 30 times the record's
// number, but for the first pixel: 1, 2, 3.
std::vector<std::uint8_t> records(const std::vector<std::vector<std::uint8_t>>& labels) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t record = 0; record < labels.size(); ++record) {
    bytes.insert(bytes.end(), labels[record].begin(), labels[record].end());
    for (std::size_t channel = 1; channel <= 3; ++channel) {
      bytes.push_back(static_cast<std::uint8_t>(channel));
      bytes.insert(bytes.end(), 1023, static_cast<std::uint8_t>(10 * channel * record));
    }
  }
  return bytes;
}

void write_cifar10(const std::filesystem::path& folder) {
  for (int file = 1; file <= 5; ++file) {
    const auto label = static_cast<std::uint8_t>(file);
    testing::write_file(folder / ("data_batch_" + std::to_string(file) + ".bin"),
                        records({{label}, {9}, {0}}));
  }
  testing::write_file(folder / "test_batch.bin", records({{7}, {8}}));
}

// The message of the UserError that opening throws.
std::string refusal(const CifarFormat& format, const std::filesystem::path& path, Split split) {
  try {
    const CifarDataset dataset(format, path, split);
  } catch (const UserError& error) {
    return error.what();
  }
  return "opened";
}

TEST(CifarDataset, ReadsTheFilesOfCifar10InOrder) {
  const testing::TemporaryFolder folder;
  write_cifar10(folder.path() / "cifar-10-batches-bin");
  const CifarDataset train(small(cifar10_format()), folder.path(), Split::kTrain);
  ASSERT_EQ(train.size(), 15);
  Image image;
  EXPECT_EQ(train.read(0, image), 1);
  EXPECT_EQ(train.read(9, image), 4);   // first of the fourth file
  EXPECT_EQ(train.read(13, image), 9);  // second of the fifth file
  EXPECT_EQ(image.height, 32);
  EXPECT_EQ(image.width, 32);
  EXPECT_EQ(image.channels, 3);
  EXPECT_THAT(std::vector(image.row(0), image.row(0) + 6),
              ::testing::ElementsAre(1, 2, 3, 10, 20, 30));
  EXPECT_THAT(std::vector(image.row(31), image.row(31) + 3), ::testing::ElementsAre(10, 20, 30));

  const CifarDataset test(small(cifar10_format()), folder.path(), Split::kTest);
  ASSERT_EQ(test.size(), 2);
  EXPECT_EQ(test.read(1, image), 8);
}

TEST(CifarDataset, TakesTheFolderItselfAsWell) {
  const testing::TemporaryFolder folder;
  write_cifar10(folder.path());
  EXPECT_EQ(CifarDataset(small(cifar10_format()), folder.path(), Split::kTrain).size(), 15);
}

TEST(CifarDataset, TakesTheFineLabelOfCifar100) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder.path() / "cifar-100-binary" / "train.bin",
                      records({{19, 99}, {0, 4}, {3, 50}}));
  const CifarDataset train(small(cifar100_format()), folder.path(), Split::kTrain);
  ASSERT_EQ(train.size(), 3);
  Image image;
  EXPECT_EQ(train.read(0, image), 99);
  EXPECT_EQ(train.read(2, image), 50);
  EXPECT_THAT(std::vector(image.row(0), image.row(0) + 6),
              ::testing::ElementsAre(1, 2, 3, 20, 40, 60));
}

TEST(CifarDataset, SaysWhereToGetWhatIsMissing) {
  const testing::TemporaryFolder folder;
  const std::string message = refusal(cifar10_format(), folder.path(), Split::kTrain);
  EXPECT_THAT(message,
              AllOf(HasSubstr("data_batch_1.bin: No such file"),
                    HasSubstr("data_batch_5.bin: No such file"),
                    HasSubstr("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
                    HasSubstr("https://www.cs.toronto.edu/~kriz/cifar.html"),
                    HasSubstr("c32a1d4ab5d03f1284b67883e8d87530")));
}

TEST(CifarDataset, NamesEveryFileOfTheWrongSize) {
  const testing::TemporaryFolder folder;
  write_cifar10(folder.path());
  testing::write_file(folder.path() / "data_batch_2.bin", records({{1}, {2}}));
  testing::write_file(folder.path() / "data_batch_4.bin", records({{1}, {2}, {3}, {4}}));
  const std::string message = refusal(small(cifar10_format()), folder.path(), Split::kTrain);
  // Records have 3073 bytes.
  EXPECT_THAT(message,
              AllOf(HasSubstr("data_batch_2.bin: 6146 bytes instead of 9219 (truncated)"),
                    HasSubstr("data_batch_4.bin: 12292 bytes instead of 9219 (too long)"),
                    ::testing::Not(HasSubstr("data_batch_1.bin"))));
}

TEST(CifarDataset, RefusesLabelsOutOfRange) {
  const testing::TemporaryFolder folder;
  write_cifar10(folder.path());
  testing::write_file(folder.path() / "data_batch_3.bin", records({{9}, {9}, {10}}));
  EXPECT_THAT(refusal(small(cifar10_format()), folder.path(), Split::kTrain),
              HasSubstr("data_batch_3.bin: record 2 has label 10, but labels end at 9"));

  testing::write_file(folder.path() / "train.bin", records({{0, 0}, {20, 5}, {0, 0}}));
  EXPECT_THAT(refusal(small(cifar100_format()), folder.path(), Split::kTrain),
              HasSubstr("record 1 has coarse label 20, but those end at 19"));
}

// A folder with the small CIFAR-10 packed as tar packs it, and the format with that archive's sum.
class PackedCifar : public ::testing::Test {
 protected:
  PackedCifar() : archive_(folder_.path() / "cifar-10-binary.tar.gz") {
    write_cifar10(folder_.path() / "cifar-10-batches-bin");
    const std::string pack = "cd '" + folder_.path().string() +
                             "' && tar czf cifar-10-binary.tar.gz cifar-10-batches-bin && "
                             "rm -r cifar-10-batches-bin";
    EXPECT_EQ(std::system(pack.c_str()), 0);
    md5_ = md5_of_file(archive_);
    format_.archive_md5 = md5_;
  }

  testing::TemporaryFolder folder_;
  std::filesystem::path archive_;
  std::string md5_;
  CifarFormat format_ = small(cifar10_format());
};

TEST_F(PackedCifar, IsReadWithoutUnpacking) {
  Image image;
  for (const auto& path : {archive_, folder_.path()}) {
    const CifarDataset train(format_, path, Split::kTrain);
    ASSERT_EQ(train.size(), 15);
    for (std::int64_t file = 0; file < 5; ++file) {
      EXPECT_EQ(train.read(3 * file, image), file + 1);
      EXPECT_EQ(train.read(3 * file + 1, image), 9);
    }
    EXPECT_EQ(CifarDataset(format_, path, Split::kTest).read(1, image), 8);
  }
}

TEST_F(PackedCifar, MustHaveThePublishedChecksum) {
  format_.archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530";
  EXPECT_THAT(refusal(format_, archive_, Split::kTrain),
              HasSubstr("its md5 is " + md5_ + ", not c32a1d4ab5d03f1284b67883e8d87530"));
}

TEST_F(PackedCifar, MustHoldEveryFileWhole) {
  format_.train_files.emplace_back("data_batch_6.bin");
  format_.records_per_test_file = 3;
  EXPECT_THAT(refusal(format_, archive_, Split::kTrain),
              HasSubstr("data_batch_6.bin: is not in the archive"));
  EXPECT_THAT(refusal(format_, archive_, Split::kTest),
              HasSubstr("test_batch.bin: 6146 bytes instead of 9219 (truncated)"));
}

TEST_F(PackedCifar, MayNotEndEarly) {
  std::filesystem::resize_file(archive_, std::filesystem::file_size(archive_) / 2);
  md5_ = md5_of_file(archive_);
  format_.archive_md5 = md5_;
  EXPECT_THAT(refusal(format_, archive_, Split::kTrain), HasSubstr("cannot be unpacked"));
  testing::write_file(archive_, std::vector<std::uint8_t>(2000, 'x'));
  md5_ = md5_of_file(archive_);
  format_.archive_md5 = md5_;
  EXPECT_THAT(refusal(format_, archive_, Split::kTrain), HasSubstr("is no tar archive"));
}

TEST(Md5OfFile, AgreesWithTheStandard) {
  // RFC 1321, appendix A.5.
  const testing::TemporaryFolder folder;
  testing::write_file(folder.path() / "empty", {});
  EXPECT_EQ(md5_of_file(folder.path() / "empty"), "d41d8cd98f00b204e9800998ecf8427e");
  testing::write_file(folder.path() / "abc", std::vector<std::uint8_t>{'a', 'b', 'c'});
  EXPECT_EQ(md5_of_file(folder.path() / "abc"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_THROW(md5_of_file(folder.path() / "none"), UserError);
}

TEST(CifarFormat, HasThePublishedSizes) {
  // 50,000 training and 10,000 test images each.
  for (const CifarFormat& format : {cifar10_format(), cifar100_format()}) {
    EXPECT_EQ(format.records_per_train_file * static_cast<std::int64_t>(format.train_files.size()),
              50'000);
    EXPECT_EQ(format.records_per_test_file * static_cast<std::int64_t>(format.test_files.size()),
              10'000);
  }
}

}  // namespace
}  // namespace vitsim
