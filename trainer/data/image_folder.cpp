#include "trainer/data/image_folder.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include <fmt/format.h>

#include "models/error.h"
#include "trainer/data/decode.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostUnreadableInARow = 1000;

bool is_image_name(const fs::path& file) {
  std::string extension = file.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

fs::path split_folder(const fs::path& path, Split split) {
  if (!fs::is_directory(path)) {
    throw UserError(fmt::format("training.dataset.path: {} is no folder", path.string()));
  }
  const auto first_of = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (fs::is_directory(path / name)) {
        return path / name;
      }
    }
    return fs::path();
  };
  const fs::path train = first_of({"train"});
  fs::path test = first_of({"test", "val"});
  if (split == Split::kTest) {
    if (test.empty()) {
      throw UserError(
          fmt::format("{} has neither a folder test nor val to evaluate on", path.string()));
    }
    return test;
  }
  if (train.empty() && !test.empty()) {
    throw UserError(fmt::format("{} has no folder train", path.string()));
  }
  return train.empty() ? path : train;
}

std::vector<std::string> sorted_folders(const fs::path& path) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

// Paths below `folder` of the images in it and in the folders within.
std::vector<std::string> sorted_images(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (is_image_name(entry.path()) && !entry.is_directory()) {
      names.push_back(entry.path().lexically_relative(folder).string());
    }
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

ImageFolderDataset::ImageFolderDataset(const fs::path& path,
                                       Split split,
                                       std::int64_t channels,
                                       OnUnreadable on_unreadable)
    : root_(split_folder(path, split)), channels_(channels), on_unreadable_(on_unreadable) {
  if (channels == 1) {
    normalisation_ = {.mean = {0.449F}, .deviation = {0.226F}};
  } else if (channels == 3) {
    normalisation_ = {.mean = {0.485F, 0.456F, 0.406F}, .deviation = {0.229F, 0.224F, 0.225F}};
  } else {
    throw UserError(fmt::format(
        "training.channels is {}, but JPEG and PNG images have 1 (grey) or 3 (colour)", channels));
  }
  std::vector<std::string> problems;
  try {
    class_names_ = sorted_folders(split_folder(path, Split::kTrain));
    for (const std::string& folder : sorted_folders(root_)) {
      const auto place = std::ranges::lower_bound(class_names_, folder);
      if (place == class_names_.end() || *place != folder) {
        problems.push_back(
            fmt::format("{}: class {} is not among the training classes", root_.string(), folder));
        continue;
      }
      const std::vector<std::string> images = sorted_images(root_ / folder);
      if (images.empty()) {
        problems.push_back(
            fmt::format("{}: no .jpg, .jpeg or .png file in it", (root_ / folder).string()));
      }
      for (const std::string& image : images) {
        files_.push_back({.label = place - class_names_.begin(), .name = image});
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw UserError(fmt::format("{}: {}", error.path1().string(), error.code().message()));
  }
  if (problems.empty() && files_.empty()) {
    problems.push_back(fmt::format("{}: no class folders in it", root_.string()));
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

fs::path ImageFolderDataset::path_of(const File& file) const {
  return root_ / class_names_[static_cast<std::size_t>(file.label)] / file.name;
}

std::int64_t ImageFolderDataset::read(std::int64_t index, Image& image) const {
  thread_local std::vector<std::uint8_t> buffer;
  const std::int64_t attempts = std::min(size(), kMostUnreadableInARow);
  for (std::int64_t attempt = 0; attempt < attempts; ++attempt) {
    const std::int64_t candidate = (index + attempt) % size();
    const File& file = files_[static_cast<std::size_t>(candidate)];
    try {
      decode_image_file(path_of(file), channels_, buffer, image);
      return file.label;
    } catch (const UnreadableImage& error) {
      if (on_unreadable_ == OnUnreadable::kStop) {
        throw UserError(fmt::format("{}: {}", path_of(file).string(), error.what()));
      }
      note_unreadable(candidate, error.what());
    }
  }
  throw UserError(fmt::format("{}: {} images in a row cannot be read, the first is {}",
                              root_.string(),
                              attempts,
                              unreadable().front()));
}

void ImageFolderDataset::note_unreadable(std::int64_t index, std::string_view why) const {
  const std::lock_guard lock(mutex_);
  unreadable_.try_emplace(
      index, fmt::format("{}: {}", path_of(files_[static_cast<std::size_t>(index)]).string(), why));
}

std::vector<std::string> ImageFolderDataset::unreadable() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> messages;
  for (const auto& [index, message] : unreadable_) {
    messages.push_back(message);
  }
  return messages;
}

}  // namespace vitsim
