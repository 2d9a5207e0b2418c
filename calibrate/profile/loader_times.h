#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/experiment/training.h"
#include "models/units.h"

namespace vitsim {

/// What one image takes while so many workers load beside each other and nothing else runs.
struct LoaderPoint {
  std::int64_t workers = 1;
  Seconds per_image;  // wall time over images: less than a worker's own where several share them
};

/// Reading, decoding and transforming the images of one data set on one host, as measured.
struct LoaderTimes {
  std::string dataset;  // name, e.g. "image-folder"
  std::int64_t image_size = 224;
  std::int64_t channels = 3;
  double cores = 1;                 // of the host, per rank
  double compute_threads = 0;       // that the model computes on itself; 0 on a GPU
  std::vector<LoaderPoint> points;  // by workers, rising

  /// Images of so many workers: between measured numbers as the workers' shares say, beyond the
  /// last by its share until the cores are used up.
  [[nodiscard]] Seconds per_image(std::int64_t workers) const;

  /// What a step cannot be faster than, where it computes for `compute` and loads `images`: the
  /// workers' pace, and on a CPU the work of both over all cores.
  [[nodiscard]] Seconds step_limit(std::int64_t workers, double images, Seconds compute) const;
};

/// Times of the training's data set at its image size from those that were measured; none where
/// nobody measured that data set. At another size decoding costs the same and transforms by pixel,
/// told apart where two sizes were measured, else all by pixel.
std::optional<LoaderTimes> loader_for(const std::vector<LoaderTimes>& measured,
                                      const TrainingSpec& training);

}  // namespace vitsim
