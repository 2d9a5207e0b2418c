#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/dataset.h"

namespace vitsim {

/// JPEG and PNG files in one folder per class; labels are the places of the class folders in the
/// sorted list of the training split's. Images are decoded when read.
class ImageFolderDataset final : public Dataset {
 public:
  /// `path` has a folder `train` and, for the test split, `test` or `val`, with a folder per class
  /// in each; without `train`, `path` itself has the class folders of the training split. Files
  /// other than .jpg, .jpeg and .png are passed over. `channels` is 1 or 3.
  /// Throws UserError that names what is missing, every class folder without images, and test
  /// classes that training does not have.
  ImageFolderDataset(const std::filesystem::path& path,
                     Split split,
                     std::int64_t channels,
                     OnUnreadable on_unreadable);

  [[nodiscard]] std::int64_t size() const override {
    return static_cast<std::int64_t>(files_.size());
  }

  [[nodiscard]] std::int64_t classes() const override {
    return static_cast<std::int64_t>(class_names_.size());
  }

  [[nodiscard]] const std::vector<std::string>& class_names() const { return class_names_; }

  [[nodiscard]] const Normalisation& normalisation() const override { return normalisation_; }

  /// Files are sorted by class, so a part is spread evenly over them: of each class as much.
  [[nodiscard]] std::int64_t index_in_part(std::int64_t number, std::int64_t count) const override {
    return number * size() / count;
  }

  /// A sample that cannot be read is replaced by the next one that can, and noted, or throws
  /// UserError naming the file, as asked at opening. 1000 unreadable ones in a row throw always.
  std::int64_t read(std::int64_t index, Image& image) const override;

  [[nodiscard]] std::vector<std::string> unreadable() const override;

 private:
  struct File {
    std::int64_t label = 0;
    std::string name;  // below the class folder
  };

  [[nodiscard]] std::filesystem::path path_of(const File& file) const;
  void note_unreadable(std::int64_t index, std::string_view why) const;

  std::filesystem::path root_;
  std::int64_t channels_;
  OnUnreadable on_unreadable_;
  Normalisation normalisation_;
  std::vector<std::string> class_names_;
  std::vector<File> files_;
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, std::string> unreadable_;  // by index
};

}  // namespace vitsim
