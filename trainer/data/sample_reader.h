#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>

#include "models/experiment/training.h"
#include "trainer/data/dataset.h"
#include "trainer/data/image.h"
#include "trainer/data/transform.h"

namespace vitsim {

/// Reads samples of a data set into the buffers of a micro-batch: decode, cut, resize.
/// Keeps its working memory, so each thread has its own.
class SampleReader {
 public:
  /// With `epoch`, images are cut as `training.augment` says; without, they are left whole.
  SampleReader(const Dataset& dataset,
               const TrainingSpec& training,
               std::optional<std::int64_t> epoch);

  /// `images` has indices.size() x channels x image_size x image_size levels, `labels` one each.
  /// Returns early, with the rest unset, once a stop is requested.
  void read(std::span<const std::int64_t> indices,
            std::span<std::uint8_t> images,
            std::span<std::int64_t> labels,
            const std::stop_token& stop);

 private:
  const Dataset& dataset_;
  AugmentSpec augment_;
  std::uint64_t seed_;
  std::optional<std::int64_t> epoch_;
  std::size_t values_per_sample_;
  ImageTransform transform_;
  Image image_;
};

}  // namespace vitsim
