#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/dataset.h"

namespace vitsim {

/// One of the binary distributions of https://www.cs.toronto.edu/~kriz/cifar.html: records of label
/// bytes followed by 32 x 32 red, then green, then blue values.
struct CifarFormat {
  std::string_view name;
  std::string_view folder;   // what the archive unpacks into
  std::string_view archive;  // name on the server
  std::string_view archive_md5;
  std::vector<std::string_view> train_files;
  std::vector<std::string_view> test_files;
  std::int64_t records_per_train_file = 0;
  std::int64_t records_per_test_file = 0;
  std::int64_t label_bytes = 1;  // the last of them is the label, the one before it is coarser
  std::int64_t classes = 10;
  std::int64_t coarse_classes = 0;
  Normalisation normalisation;
};

CifarFormat cifar10_format();
CifarFormat cifar100_format();

/// CIFAR-10 or CIFAR-100, held in memory as the files have it (about 150 MB for a training split).
class CifarDataset final : public Dataset {
 public:
  /// Reads the files of `split` from `path`: the format's folder, its archive, or a folder that
  /// holds one of both (the unpacked one is preferred). An archive must have the published
  /// checksum. Throws UserError that names every file that is missing, of another size than
  /// published, or has a label out of range, and where to get the archive.
  CifarDataset(const CifarFormat& format, const std::filesystem::path& path, Split split);

  [[nodiscard]] std::int64_t size() const override;

  [[nodiscard]] std::int64_t classes() const override { return format_.classes; }

  [[nodiscard]] const Normalisation& normalisation() const override {
    return format_.normalisation;
  }

  std::int64_t read(std::int64_t index, Image& image) const override;

 private:
  [[nodiscard]] std::int64_t record_bytes() const;

  CifarFormat format_;
  std::vector<std::uint8_t> records_;
};

}  // namespace vitsim
