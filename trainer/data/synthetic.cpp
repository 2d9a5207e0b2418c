// The synthetic set: pictures that a network can learn to tell apart, made from nothing.
//
// Template level t of a class, row, column and channel: uniform in [-64, 63]. A sample of class k
// draws a rival class r, a strength s in [48, 96] and a rival's strength w in [0, 48], both in
// 1/64, and
//   pixel = clamp(128 + (s * t_k + w * t_r) / 64 + noise, 0, 255),  noise uniform in [-64, 63],
// where t is that of the block, of 4 x 4 blocks, in which the pixel lies. The class is always the
// stronger of both, so the task can be solved; strengths vary and noise hides a single pixel, so it
// has to be learned. Standard deviations: templates 37 at strength 1, noise 37, together about 0.2
// of the scale.
//
// Noise takes one 64-bit draw for eight values, so that a 224 pixel image costs less than decoding
// a real one.

#include "trainer/data/synthetic.h"

#include <algorithm>
#include <utility>

#include "trainer/data/counter_random.h"

namespace vitsim {

namespace {

constexpr std::int64_t kGrid = 4;
constexpr std::int64_t kUnit = 64;  // strengths are in 1/64

enum Purpose : std::uint64_t { kTemplate = 0x7e3a, kTrainSample, kTestSample };

}  // namespace

SyntheticDataset::SyntheticDataset(const Shape& shape, std::uint64_t seed, Split split)
    : shape_(shape), seed_(seed), split_(split) {
  const auto channels = static_cast<std::size_t>(shape.channels);
  normalisation_ = {.mean = std::vector<float>(channels, 0.5F),
                    .deviation = std::vector<float>(channels, 0.2F)};
  CounterRandom random(seed, {kTemplate});
  templates_.resize(static_cast<std::size_t>(shape.classes * kGrid * kGrid * shape.channels));
  for (std::int16_t& level : templates_) {
    level = static_cast<std::int16_t>(random.below(2 * kUnit) - kUnit);
  }
}

std::int64_t SyntheticDataset::read(std::int64_t index, Image& image) const {
  const std::int64_t label = index % shape_.classes;
  const std::int64_t size = shape_.image_size;
  const std::int64_t channels = shape_.channels;
  image.reshape(size, size, channels);

  CounterRandom random(
      seed_,
      {split_ == Split::kTrain ? kTrainSample : kTestSample, static_cast<std::uint64_t>(index)});
  const std::int64_t rival = random.below(shape_.classes);
  const std::int64_t strength = 48 + random.below(49);
  const std::int64_t rival_strength = random.below(49);

  const std::int64_t levels = kGrid * kGrid * channels;
  std::vector<int> blocks(static_cast<std::size_t>(levels));
  for (std::int64_t i = 0; i < levels; ++i) {
    const int own = templates_[static_cast<std::size_t>(label * levels + i)];
    const int other = templates_[static_cast<std::size_t>(rival * levels + i)];
    blocks[static_cast<std::size_t>(i)] =
        static_cast<int>(128 + (strength * own + rival_strength * other) / kUnit);
  }

  // Noise first, eight values a draw, in the order of the pixels.
  for (std::size_t begin = 0; begin < image.pixels.size(); begin += 8) {
    const std::uint64_t noise = random.next();
    const std::size_t count = std::min<std::size_t>(8, image.pixels.size() - begin);
    for (std::size_t i = 0; i < count; ++i) {
      image.pixels[begin + i] = static_cast<std::uint8_t>((noise >> (8 * i)) & 127U);
    }
  }

  std::vector<std::int16_t> pattern(static_cast<std::size_t>(size * channels));
  for (std::int64_t y = 0; y < size; ++y) {
    if (const std::int64_t block_row = y * kGrid / size;
        y == 0 || block_row != (y - 1) * kGrid / size) {
      for (std::int64_t i = 0; i < size * channels; ++i) {
        const std::int64_t block = block_row * kGrid + (i / channels) * kGrid / size;
        pattern[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(
            blocks[static_cast<std::size_t>(block * channels + i % channels)] - kUnit);
      }
    }
    std::uint8_t* row = image.row(y);
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      const int level = pattern[i] + row[i];
      row[i] = static_cast<std::uint8_t>(std::clamp(level, 0, 255));
    }
  }
  return label;
}

}  // namespace vitsim
