#include "trainer/data/dataset.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include "models/error.h"
#include "trainer/data/cifar.h"
#include "trainer/data/image_folder.h"
#include "trainer/data/synthetic.h"

namespace vitsim {

namespace {

std::filesystem::path path_of(const DatasetSpec& spec, std::string_view holds) {
  if (!spec.path) {
    throw UserError(fmt::format(
        "training.dataset.path is missing: dataset \"{}\" is read from {}", spec.name, holds));
  }
  return *spec.path;
}

std::unique_ptr<Dataset> open_cifar(const CifarFormat& format,
                                    const TrainingSpec& training,
                                    Split split) {
  const std::filesystem::path path =
      path_of(training.dataset,
              fmt::format("https://www.cs.toronto.edu/~kriz/{} (md5 {}), packed or unpacked",
                          format.archive,
                          format.archive_md5));
  return std::make_unique<CifarDataset>(format, path, split);
}

std::unique_ptr<Dataset> open_synthetic(const TrainingSpec& training, Split split) {
  const std::int64_t samples = training.dataset.samples;
  if (samples < 1) {
    throw UserError("training.dataset.samples is missing: the synthetic set is as large as asked");
  }
  return std::make_unique<SyntheticDataset>(
      SyntheticDataset::Shape{
          .samples = split == Split::kTrain ? samples : std::max<std::int64_t>(1, samples / 5),
          .classes = training.model.classes,
          .image_size = training.model.image_size,
          .channels = training.model.channels},
      training.seed,
      split);
}

std::unique_ptr<Dataset> open_named(const TrainingSpec& training,
                                    Split split,
                                    OnUnreadable on_unreadable) {
  const DatasetSpec& spec = training.dataset;
  if (spec.name == "synthetic") {
    return open_synthetic(training, split);
  }
  if (spec.name == "cifar10") {
    return open_cifar(cifar10_format(), training, split);
  }
  if (spec.name == "cifar100") {
    return open_cifar(cifar100_format(), training, split);
  }
  if (spec.name == "image-folder") {
    return std::make_unique<ImageFolderDataset>(path_of(spec, "a folder with train/CLASS/*.jpg"),
                                                split,
                                                training.model.channels,
                                                on_unreadable);
  }
  throw UserError(
      fmt::format("training.dataset.name: \"{}\" can be predicted, not trained (cifar10, cifar100, "
                  "image-folder and synthetic can)",
                  spec.name));
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const TrainingSpec& training,
                                      Split split,
                                      OnUnreadable on_unreadable) {
  std::unique_ptr<Dataset> dataset = open_named(training, split, on_unreadable);
  std::vector<std::string> problems;
  const DatasetSpec& spec = training.dataset;
  if (split == Split::kTrain && spec.samples > dataset->size()) {
    problems.push_back(fmt::format("training.dataset.samples is {}, but \"{}\" has only {}",
                                   spec.samples,
                                   spec.name,
                                   dataset->size()));
  }
  if (dataset->classes() > training.model.classes) {
    problems.push_back(fmt::format("training.classes is {}, but \"{}\" has {} classes",
                                   training.model.classes,
                                   spec.name,
                                   dataset->classes()));
  }
  const auto channels = static_cast<std::int64_t>(dataset->normalisation().mean.size());
  if (channels != training.model.channels) {
    problems.push_back(fmt::format("training.channels is {}, but the images of \"{}\" have {}",
                                   training.model.channels,
                                   spec.name,
                                   channels));
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
  return dataset;
}

std::int64_t counted_samples(const TrainingSpec& training, const Dataset& dataset) {
  return training.dataset.samples > 0 ? training.dataset.samples : dataset.size();
}

}  // namespace vitsim
