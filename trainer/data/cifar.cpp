#include "trainer/data/cifar.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "models/error.h"
#include "trainer/data/archive.h"

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

std::string wrong_size(std::uintmax_t bytes, std::uintmax_t expected) {
  return fmt::format(
      "{} bytes instead of {} ({})", bytes, expected, bytes < expected ? "truncated" : "too long");
}

// Fills `records` from the file; returns what is wrong with it, if anything is.
std::optional<std::string> read_file(const CifarFormat& format,
                                     const std::filesystem::path& file,
                                     std::span<std::uint8_t> records) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  if (error) {
    return error.message();
  }
  if (bytes != records.size()) {
    return wrong_size(bytes, records.size());
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    return std::generic_category().message(errno);
  }
  if (!stream.read(reinterpret_cast<char*>(records.data()),
                   static_cast<std::streamsize>(records.size()))) {
    return fmt::format("only {} of {} bytes could be read", stream.gcount(), records.size());
  }
  return check_labels(format, records);
}

// The same for all `files` of the archive, whose checksum is tested first.
std::vector<std::string> read_archive(const CifarFormat& format,
                                      const std::filesystem::path& archive,
                                      const std::vector<std::string_view>& files,
                                      std::span<std::uint8_t> records) {
  if (const std::string md5 = md5_of_file(archive); md5 != format.archive_md5) {
    return {fmt::format("{}: its md5 is {}, not {}: not {} as published, or damaged on the way",
                        archive.string(),
                        md5,
                        format.archive_md5,
                        format.archive)};
  }
  const std::size_t file_bytes = records.size() / files.size();
  std::vector<std::optional<std::string>> problems(files.size(), "is not in the archive");
  const auto place_of = [&](std::string_view name) {
    return static_cast<std::size_t>(std::ranges::find(files, name) - files.begin());
  };
  const auto wanted = [&](std::string_view name, std::int64_t bytes) {
    const std::size_t place = place_of(name);
    if (place == files.size()) {
      return false;
    }
    if (static_cast<std::size_t>(bytes) != file_bytes) {
      problems[place] = wrong_size(static_cast<std::uintmax_t>(bytes), file_bytes);
      return false;
    }
    return true;
  };
  unpack_archive(
      archive, wanted, [&](std::string_view name, const std::vector<std::uint8_t>& contents) {
        const std::size_t place = place_of(name);
        const auto target = records.subspan(place * file_bytes, file_bytes);
        std::ranges::copy(contents, target.begin());
        problems[place] = check_labels(format, target);
      });
  std::vector<std::string> messages;
  for (std::size_t place = 0; place < files.size(); ++place) {
    if (problems[place]) {
      messages.push_back(
          fmt::format("{}: {}: {}", archive.string(), files[place], *problems[place]));
    }
  }
  return messages;
}

}  // namespace

CifarFormat cifar10_format() {
  return {.name = "cifar10",
          .folder = "cifar-10-batches-bin",
          .archive = "cifar-10-binary.tar.gz",
          .archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530",
          .train_files = {"data_batch_1.bin",
                          "data_batch_2.bin",
                          "data_batch_3.bin",
                          "data_batch_4.bin",
                          "data_batch_5.bin"},
          .test_files = {"test_batch.bin"},
          .records_per_train_file = 10'000,
          .records_per_test_file = 10'000,
          .label_bytes = 1,
          .classes = 10,
          .coarse_classes = 0,
          .normalisation = {.mean = {0.4914F, 0.4822F, 0.4465F},
                            .deviation = {0.2470F, 0.2435F, 0.2616F}}};
}

CifarFormat cifar100_format() {
  return {.name = "cifar100",
          .folder = "cifar-100-binary",
          .archive = "cifar-100-binary.tar.gz",
          .archive_md5 = "03b5dce01913d631647c71ecec9e9cb8",
          .train_files = {"train.bin"},
          .test_files = {"test.bin"},
          .records_per_train_file = 50'000,
          .records_per_test_file = 10'000,
          .label_bytes = 2,
          .classes = 100,
          .coarse_classes = 20,
          .normalisation = {.mean = {0.5071F, 0.4865F, 0.4409F},
                            .deviation = {0.2673F, 0.2564F, 0.2762F}}};
}

CifarDataset::CifarDataset(const CifarFormat& format,
                           const std::filesystem::path& path,
                           Split split)
    : format_(format) {
  const bool train = split == Split::kTrain;
  const auto& files = train ? format.train_files : format.test_files;
  const std::int64_t per_file =
      train ? format.records_per_train_file : format.records_per_test_file;
  const auto file_bytes = static_cast<std::size_t>(per_file * record_bytes());
  records_.resize(file_bytes * files.size());

  const bool unpacked = std::filesystem::is_directory(path / format.folder);
  const bool beside = !unpacked && std::filesystem::is_regular_file(path / format.archive);
  std::vector<std::string> problems;
  if (beside || std::filesystem::is_regular_file(path)) {
    problems = read_archive(format, beside ? path / format.archive : path, files, records_);
  } else {
    const std::filesystem::path folder = unpacked ? path / format.folder : path;
    for (std::size_t i = 0; i < files.size(); ++i) {
      const auto target = std::span(records_).subspan(i * file_bytes, file_bytes);
      if (const auto problem = read_file(format, folder / files[i], target)) {
        problems.push_back(fmt::format("{}: {}", (folder / files[i]).string(), *problem));
      }
    }
  }
  if (!problems.empty()) {
    problems.push_back(
        fmt::format("{}: get {}{} (md5 {}, see {}cifar.html) and set training.dataset.path to it, "
                    "or to the folder where it is or was unpacked",
                    format.name,
                    kServer,
                    format.archive,
                    format.archive_md5,
                    kServer));
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
