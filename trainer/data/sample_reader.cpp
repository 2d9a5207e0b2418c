#include "trainer/data/sample_reader.h"

#include "models/error.h"

namespace vitsim {

SampleReader::SampleReader(const Dataset& dataset,
                           const TrainingSpec& training,
                           std::optional<std::int64_t> epoch)
    : dataset_(dataset),
      augment_(training.augment),
      seed_(training.seed),
      epoch_(epoch),
      values_per_sample_(static_cast<std::size_t>(
          training.model.channels * training.model.image_size * training.model.image_size)),
      transform_(training.model.image_size) {}

void SampleReader::read(std::span<const std::int64_t> indices,
                        std::span<std::uint8_t> images,
                        std::span<std::int64_t> labels,
                        const std::stop_token& stop) {
  VITSIM_CHECK(images.size(), ==, indices.size() * values_per_sample_);
  VITSIM_CHECK(labels.size(), ==, indices.size());
  for (std::size_t i = 0; i < indices.size() && !stop.stop_requested(); ++i) {
    labels[i] = dataset_.read(indices[i], image_);
    const Cut cut =
        epoch_ ? random_cut(augment_, seed_, *epoch_, indices[i], image_.height, image_.width)
               : Cut{};
    transform_.apply(image_, cut, images.subspan(i * values_per_sample_, values_per_sample_));
  }
}

}  // namespace vitsim
