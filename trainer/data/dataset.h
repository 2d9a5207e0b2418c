#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/experiment/training.h"
#include "trainer/data/image.h"

namespace vitsim {

enum class Split { kTrain, kTest };

/// What happens when one image of many cannot be read: another takes its place, or the run stops.
enum class OnUnreadable { kReplace, kStop };

/// Mean and standard deviation of a data set's channels, on the scale where black is 0, white 1.
struct Normalisation {
  std::vector<float> mean;
  std::vector<float> deviation;
};

/// Labelled images, addressed by index. Reading is safe from several threads at once.
class Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset() = default;

  /// Number of samples; indices run from 0.
  [[nodiscard]] virtual std::int64_t size() const = 0;

  /// Labels run from 0 to classes() - 1.
  [[nodiscard]] virtual std::int64_t classes() const = 0;

  [[nodiscard]] virtual const Normalisation& normalisation() const = 0;

  /// The index of sample `number` of a part of `count` samples, for runs that take only a part. The
  /// first ones, unless the set is in an order that makes them a poor choice.
  [[nodiscard]] virtual std::int64_t index_in_part(std::int64_t number,
                                                   std::int64_t /*count*/) const {
    return number;
  }

  /// Decodes sample `index` into `image`, whose memory is reused, and returns its label.
  /// Throws UserError where the sample cannot be read and may not be replaced.
  virtual std::int64_t read(std::int64_t index, Image& image) const = 0;

  /// One sentence for each sample that could not be read so far in this process, in index order.
  [[nodiscard]] virtual std::vector<std::string> unreadable() const { return {}; }
};

/// Opens the data set that `training.dataset` names: cifar10, cifar100 (binary files), image-folder
/// or synthetic. Files are checked here, images are decoded when read.
///
/// `dataset.path` is the folder that holds `cifar-10-batches-bin` or `cifar-100-binary`, that
/// folder itself, or the archive it comes in; for image-folder one with `train/CLASS/*` and, for
/// the test split, `test/CLASS/*` or `val/CLASS/*`. The test split of the synthetic set has a fifth
/// of the training samples.
///
/// Throws UserError with every problem found: a name for prediction only, missing or short files
/// (and where to get them), fewer samples than `dataset.samples`, more classes than the model's.
std::unique_ptr<Dataset> open_dataset(const TrainingSpec& training,
                                      Split split,
                                      OnUnreadable on_unreadable = OnUnreadable::kReplace);

/// What an epoch's fraction is taken of: `dataset.samples` where the file says it, else all.
std::int64_t counted_samples(const TrainingSpec& training, const Dataset& dataset);

}  // namespace vitsim
