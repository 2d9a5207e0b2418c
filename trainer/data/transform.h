#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "models/experiment/training.h"
#include "trainer/data/image.h"

namespace vitsim {

/// What is cut out of an image before it is resized: a window of the image's own size, moved by
/// `down` and `right` pixels (black where it leaves the image), then mirrored left to right.
struct Cut {
  std::int64_t down = 0;
  std::int64_t right = 0;
  bool flip = false;

  bool operator==(const Cut&) const = default;
};

/// The cut of sample `index` in `epoch`: each way at most an eighth of the side, all positions
/// equally likely; mirrored with probability 1/2. A function of its arguments alone.
Cut random_cut(const AugmentSpec& augment,
               std::uint64_t seed,
               std::int64_t epoch,
               std::int64_t index,
               std::int64_t height,
               std::int64_t width);

/// How one axis is resized: output i is the sum over t < taps of weight[i * taps + t] times
/// input[first[i] + t].
struct AxisWeights {
  std::int64_t taps = 0;
  std::vector<std::int64_t> first;
  std::vector<float> weight;
};

/// Bilinear weights from `in` to `out` pixels, antialiased where that shrinks, for the `count`
/// outputs from `begin` on. All taps lie inside of the input.
AxisWeights axis_weights(std::int64_t in, std::int64_t out, std::int64_t begin, std::int64_t count);

/// Turns decoded images into squares for the model: cut, resized so that the shorter side has
/// `image_size` pixels, the centre square taken, planar. Levels stay bytes, rounded to the nearest:
/// the device normalises them. Keeps its working memory, so each thread has its own.
class ImageTransform {
 public:
  explicit ImageTransform(std::int64_t image_size) : size_(image_size) {}

  /// `out` has as many channels as `image`, each of image_size x image_size levels.
  void apply(const Image& image, const Cut& cut, std::span<std::uint8_t> out);

 private:
  void convert_rows(const Image& image,
                    const Cut& cut,
                    std::int64_t top,
                    std::int64_t channel,
                    std::pair<std::int64_t, std::int64_t> columns);

  std::int64_t size_;
  std::vector<std::uint8_t> black_row_;
  std::vector<float> rows_;      // kLanes source rows, side by side
  std::vector<float> narrowed_;  // one channel, all source rows, final width
  std::vector<float> row_;       // one final row before it is rounded
};

}  // namespace vitsim
