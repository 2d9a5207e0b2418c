#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/dataset.h"

namespace vitsim {

/// A learnable set that needs no files. Each class has a template of 4 x 4 x channels random
/// levels; an image shows its class's template strongly, another class's weakly, each block
/// enlarged to a sixteenth of the image, under uniform noise. Integer arithmetic of (seed, index)
/// alone, so the same on every machine. Labels go round: index modulo classes.
class SyntheticDataset final : public Dataset {
 public:
  struct Shape {
    std::int64_t samples = 0;
    std::int64_t classes = 10;
    std::int64_t image_size = 32;
    std::int64_t channels = 3;
  };

  /// Both splits show the same templates; no image of one is in the other.
  SyntheticDataset(const Shape& shape, std::uint64_t seed, Split split);

  [[nodiscard]] std::int64_t size() const override { return shape_.samples; }

  [[nodiscard]] std::int64_t classes() const override { return shape_.classes; }

  [[nodiscard]] const Normalisation& normalisation() const override { return normalisation_; }

  std::int64_t read(std::int64_t index, Image& image) const override;

 private:
  Shape shape_;
  std::uint64_t seed_;
  Split split_;
  Normalisation normalisation_;
  std::vector<std::int16_t> templates_;  // classes x kGrid x kGrid x channels
};

}  // namespace vitsim
