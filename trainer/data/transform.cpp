// Resizing, with the arithmetic of torchvision's Resize on float tensors (and of Pillow): for every
// output pixel a triangle filter is centred on c = (i + 1/2) in/out of the input's axis, as wide as
// one input pixel to each side when enlarging, as one output pixel (in/out inputs) when shrinking,
// which is what antialiases. Taps whose centre lies within that reach, and inside of the image, are
// weighted by 1 - |distance| / reach; then the weights are divided by their sum, which at the edges
// repeats the outermost pixels.
//
// Rows and columns are filtered one after the other. Rows come first, kLanes of them side by side,
// so that one instruction works on kLanes rows. Both filters work on floats, and the result is
// rounded once, to the nearest level: an image that needs no resizing keeps its bytes. No full-size
// float copy of a large photograph is made. The cost for s output pixels a side, from h rows:
// h * s * taps + s * s * taps multiply-adds a channel.

#include "trainer/data/transform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "models/error.h"
#include "trainer/data/counter_random.h"

namespace vitsim {

namespace {

constexpr std::int64_t kLanes = 8;
constexpr std::uint64_t kCutPurpose = 0xc07;

// Half of what is cut off, halves to even as torchvision's CenterCrop rounds.
std::int64_t centred(std::int64_t surplus) {
  return std::llrint(static_cast<double>(surplus) / 2);
}

}  // namespace

Cut random_cut(const AugmentSpec& augment,
               std::uint64_t seed,
               std::int64_t epoch,
               std::int64_t index,
               std::int64_t height,
               std::int64_t width) {
  CounterRandom random(
      seed, {kCutPurpose, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(index)});
  // All three are drawn whatever is used, so that turning one on leaves the others as they were.
  const std::int64_t down = random.below(2 * (height / 8) + 1) - height / 8;
  const std::int64_t right = random.below(2 * (width / 8) + 1) - width / 8;
  const bool flip = random.below(2) == 1;
  return {.down = augment.crop ? down : 0,
          .right = augment.crop ? right : 0,
          .flip = augment.flip && flip};
}

AxisWeights axis_weights(std::int64_t in,
                         std::int64_t out,
                         std::int64_t begin,
                         std::int64_t count) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double reach = std::max(1.0, scale);
  const auto weight_of = [&](std::int64_t tap, double centre) {
    return std::max(0.0, 1 - std::abs((static_cast<double>(tap) + 0.5 - centre) / reach));
  };
  const auto centre_of = [&](std::int64_t i) {
    return (static_cast<double>(begin + i) + 0.5) * scale;
  };

  // The range of inputs that weigh something, by output.
  AxisWeights axis;
  std::vector<std::int64_t> ends;
  for (std::int64_t i = 0; i < count; ++i) {
    const double centre = centre_of(i);
    std::int64_t low = std::max<std::int64_t>(0, std::llrint(std::floor(centre - reach)));
    std::int64_t high = std::min<std::int64_t>(in, std::llrint(std::ceil(centre + reach)));
    while (weight_of(low, centre) == 0) {
      ++low;
    }
    while (weight_of(high - 1, centre) == 0) {
      --high;
    }
    axis.first.push_back(low);
    ends.push_back(high);
    axis.taps = std::max(axis.taps, high - low);
  }

  axis.weight.assign(static_cast<std::size_t>(count * axis.taps), 0.0F);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t& first = axis.first[static_cast<std::size_t>(i)];
    const std::int64_t low = first;
    const std::int64_t high = ends[static_cast<std::size_t>(i)];
    // Near the end the window of `taps` inputs moves back, so that it never leaves the input.
    first = std::min(low, in - axis.taps);
    double sum = 0;
    for (std::int64_t tap = low; tap < high; ++tap) {
      sum += weight_of(tap, centre_of(i));
    }
    for (std::int64_t tap = low; tap < high; ++tap) {
      axis.weight[static_cast<std::size_t>(i * axis.taps + tap - first)] =
          static_cast<float>(weight_of(tap, centre_of(i)) / sum);
    }
  }
  return axis;
}

// Rows top, top + 1, ... of one channel of the cut into rows_: value x of row r at
// x * kLanes + r, for x within `columns`. Lanes past the last row repeat it.
void ImageTransform::convert_rows(const Image& image,
                                  const Cut& cut,
                                  std::int64_t top,
                                  std::int64_t channel,
                                  std::pair<std::int64_t, std::int64_t> columns) {
  std::array<const std::uint8_t*, kLanes> source{};
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    const std::int64_t y = std::min(top + lane, image.height - 1) + cut.down;
    const bool inside = y >= 0 && y < image.height;
    source[static_cast<std::size_t>(lane)] = (inside ? image.row(y) : black_row_.data()) + channel;
  }
  for (std::int64_t x = columns.first; x < columns.second; ++x) {
    const std::int64_t from = (cut.flip ? image.width - 1 - x : x) + cut.right;
    float* target = rows_.data() + x * kLanes;
    if (from < 0 || from >= image.width) {
      std::fill_n(target, kLanes, 0.0F);  // black
      continue;
    }
    const std::int64_t offset = from * image.channels;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      target[lane] = static_cast<float>(source[lane][offset]);
    }
  }
}

void ImageTransform::apply(const Image& image, const Cut& cut, std::span<std::uint8_t> out) {
  VITSIM_CHECK(out.size(), ==, static_cast<std::size_t>(image.channels * size_ * size_));
  // The shorter side becomes size_, the longer one keeps the aspect; the centre square is taken.
  const std::int64_t shorter = std::min(image.width, image.height);
  const std::int64_t full_width = size_ * image.width / shorter;
  const std::int64_t full_height = size_ * image.height / shorter;
  const AxisWeights across =
      axis_weights(image.width, full_width, centred(full_width - size_), size_);
  const AxisWeights downward =
      axis_weights(image.height, full_height, centred(full_height - size_), size_);

  // Only the rows and columns that some output needs.
  const std::pair columns(across.first.front(), across.first.back() + across.taps);
  const std::int64_t first_row = downward.first.front();
  const std::int64_t row_end = downward.first.back() + downward.taps;
  black_row_.assign(static_cast<std::size_t>(image.width * image.channels), 0);
  rows_.resize(static_cast<std::size_t>(image.width * kLanes));
  narrowed_.resize(static_cast<std::size_t>((row_end - first_row + kLanes) * size_));
  row_.resize(static_cast<std::size_t>(size_));

  for (std::int64_t channel = 0; channel < image.channels; ++channel) {
    for (std::int64_t top = first_row; top < row_end; top += kLanes) {
      convert_rows(image, cut, top, channel, columns);
      float* narrowed = narrowed_.data() + (top - first_row) * size_;
      for (std::int64_t x = 0; x < size_; ++x) {
        std::array<float, kLanes> sum{};
        const float* source = rows_.data() + across.first[static_cast<std::size_t>(x)] * kLanes;
        const float* weight = across.weight.data() + x * across.taps;
        for (std::int64_t tap = 0; tap < across.taps; ++tap) {
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            sum[lane] += weight[tap] * source[tap * kLanes + static_cast<std::int64_t>(lane)];
          }
        }
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          narrowed[static_cast<std::int64_t>(lane) * size_ + x] = sum[lane];
        }
      }
    }
    for (std::int64_t y = 0; y < size_; ++y) {
      float* target = row_.data();
      const float* weight = downward.weight.data() + y * downward.taps;
      const float* source =
          narrowed_.data() + (downward.first[static_cast<std::size_t>(y)] - first_row) * size_;
      for (std::int64_t x = 0; x < size_; ++x) {
        target[x] = weight[0] * source[x];
      }
      for (std::int64_t tap = 1; tap < downward.taps; ++tap) {
        if (weight[tap] == 0) {
          continue;
        }
        for (std::int64_t x = 0; x < size_; ++x) {
          target[x] += weight[tap] * source[tap * size_ + x];
        }
      }
      // Weights are not negative and sum to 1, so that levels stay between 0 and 255.
      std::uint8_t* levels = out.data() + (channel * size_ + y) * size_;
      for (std::int64_t x = 0; x < size_; ++x) {
        levels[x] = static_cast<std::uint8_t>(std::min(255.0F, target[x] + 0.5F));
      }
    }
  }
}

}  // namespace vitsim
