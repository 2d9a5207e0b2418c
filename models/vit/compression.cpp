#include "models/vit/compression.h"

namespace vitsim {

PowerSgdElements power_sgd_elements(const ModelPart& part,
                                    std::span<const std::size_t> tensors,
                                    std::int64_t rank) {
  constexpr std::int64_t kLeastRate = 2;  // min_compression_rate
  const std::vector<ParameterTensor> all = parameters(part);
  PowerSgdElements sent;
  for (const std::size_t index : tensors) {
    const std::int64_t elements = all[index].elements();
    const std::int64_t rows = all[index].shape.front();
    const std::int64_t columns = elements / rows;
    if (all[index].shape.size() > 1 && (rows + columns) * rank * kLeastRate < elements) {
      sent.left += rows * rank;
      sent.right += columns * rank;
    } else {
      sent.plain += elements;
    }
  }
  return sent;
}

Bytes reduce_bytes_per_parameter(const TrainingSpec& training) {
  return gradient_bytes_per_parameter(training.fsdp.reduce_precision.value_or(training.precision));
}

}  // namespace vitsim
