#include "trainer/data/cifar.h"

#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::int64_t kSide = 32;
constexpr std::int64_t kPlane = kSide * kSide;
constexpr std::int64_t kPixelBytes = 3 * kPlane;
constexpr std::string_view kServer = "https://www.cs.toronto.edu/~kriz/";

// What is wrong with the labels of `records`, if anything is.
std::optional<std::string> check_labels(const CifarFormat& format,
                                        std::span<const std::uint8_t> records) {
  const std::int64_t record_bytes = format.label_bytes + kPixelBytes;
  const auto count = static_cast<std::int64_t>(records.size()) / record_bytes;
  for (std::int64_t record = 0; record < count; ++record) {
    const std::uint8_t* labels = records.data() + record * record_bytes;
    const int label = labels[format.label_bytes - 1];
    if (label >= format.classes) {
      return fmt::format(
          "record {} has label {}, but labels end at {}", record, label, format.classes - 1);
    }
    if (format.label_bytes == 2 && labels[0] >= format.coarse_classes) {
      return fmt::format("record {} has coarse label {}, but those end at {}",
                         record,
                         labels[0],
                         format.coarse_classes - 1);
    }
  }
  return std::nullopt;
}

// Appends the file to `records`; returns what is wrong with it, if anything is.
std::optional<std::string> append_file(const CifarFormat& format,
                                       const std::filesystem::path& file,
                                       std::int64_t records_in_file,
                                       std::vector<std::uint8_t>& records) {
  const std::int64_t expected = records_in_file * (format.label_bytes + kPixelBytes);
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  if (error) {
    return fmt::format("{}: {}", file.string(), error.message());
  }
  if (bytes != static_cast<std::uintmax_t>(expected)) {
    return fmt::format("{}: {} bytes instead of {} ({})",
                       file.string(),
                       bytes,
                       expected,
                       bytes < static_cast<std::uintmax_t>(expected) ? "truncated" : "too long");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    return fmt::format("{}: {}", file.string(), std::generic_category().message(errno));
  }
  const std::size_t begin = records.size();
  records.resize(begin + static_cast<std::size_t>(expected));
  if (!stream.read(reinterpret_cast<char*>(records.data() + begin), expected)) {
    return fmt::format(
        "{}: only {} of {} bytes could be read", file.string(), stream.gcount(), expected);
  }
  if (const auto problem = check_labels(format, std::span(records).subspan(begin))) {
    return fmt::format("{}: {}", file.string(), *problem);
  }
  return std::nullopt;
}

}  // namespace

CifarFormat cifar10_format() {
  return {
      .name = "cifar10",
      .folder = "cifar-10-batches-bin",
      .archive = "cifar-10-binary.tar.gz",
      .archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530",
      .train_files = {                 "data_batch_1.bin",
                      "data_batch_2.bin", "data_batch_3.bin",
                      "data_batch_4.bin", "data_batch_5.bin"},
      .test_files = {                   "test_batch.bin"    },
      .records_per_train_file = 10'000,
      .records_per_test_file = 10'000,
      .label_bytes = 1,
      .classes = 10,
      .coarse_classes = 0,
      .normalisation = {.mean = {0.4914F, 0.4822F, 0.4465F},
                      .deviation = {0.2470F, 0.2435F, 0.2616F}                   }
  };
}

CifarFormat cifar100_format() {
  return {
      .name = "cifar100",
      .folder = "cifar-100-binary",
      .archive = "cifar-100-binary.tar.gz",
      .archive_md5 = "03b5dce01913d631647c71ecec9e9cb8",
      .train_files = {                        "train.bin"},
      .test_files = { "test.bin"                                  },
      .records_per_train_file = 50'000,
      .records_per_test_file = 10'000,
      .label_bytes = 2,
      .classes = 100,
      .coarse_classes = 20,
      .normalisation = { .mean = {0.5071F, 0.4865F, 0.4409F},                                  .deviation = {0.2673F, 0.2564F, 0.2762F}}
  };
}

CifarDataset::CifarDataset(const CifarFormat& format,
                           const std::filesystem::path& path,
                           Split split)
    : format_(format) {
  const bool train = split == Split::kTrain;
  const auto& files = train ? format.train_files : format.test_files;
  const std::int64_t per_file =
      train ? format.records_per_train_file : format.records_per_test_file;
  const std::filesystem::path inner = path / format.folder;
  const std::filesystem::path& folder = std::filesystem::is_directory(inner) ? inner : path;

  records_.reserve(static_cast<std::size_t>(per_file * record_bytes()) * files.size());
  std::vector<std::string> problems;
  for (const std::string_view file : files) {
    if (const auto problem = append_file(format, folder / file, per_file, records_)) {
      problems.push_back(*problem);
    }
  }
  if (!problems.empty()) {
    problems.push_back(fmt::format("{}: get {}{} (md5 {}, see {}cifar.html) and unpack it into {}",
                                   format.name,
                                   kServer,
                                   format.archive,
                                   format.archive_md5,
                                   kServer,
                                   path.string()));
    throw UserError(problems);
  }
}

std::int64_t CifarDataset::record_bytes() const {
  return format_.label_bytes + kPixelBytes;
}

std::int64_t CifarDataset::size() const {
  return static_cast<std::int64_t>(records_.size()) / record_bytes();
}

std::int64_t CifarDataset::read(std::int64_t index, Image& image) const {
  const std::uint8_t* record = records_.data() + index * record_bytes();
  const std::uint8_t* planes = record + format_.label_bytes;
  image.reshape(kSide, kSide, 3);
  std::uint8_t* pixel = image.pixels.data();
  for (std::int64_t i = 0; i < kPlane; ++i, pixel += 3) {
    pixel[0] = planes[i];
    pixel[1] = planes[kPlane + i];
    pixel[2] = planes[2 * kPlane + i];
  }
  return record[format_.label_bytes - 1];
}

}  // namespace vitsim
