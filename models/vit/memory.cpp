#include "models/vit/memory.h"

#include <algorithm>
#include <cmath>

namespace vitsim {

namespace {

// Bytes per parameter that exist only between backward and the end of the update: the flat copy
// that DeepSpeed reduces, and in 16-bit training the fp32 gradients and, there, the temporary of
// the update.
double transient_bytes_per_parameter(const TrainingSpec& training, std::int64_t world_size) {
  const bool flat = training.gradient_sync != GradientSync::kDdp && world_size > 1;
  const double copy = flat ? gradient_bytes_per_parameter(training.precision).value() : 0;
  const bool deepspeed = training.gradient_sync != GradientSync::kDdp;
  const double update = has_master_weights(training.precision) && deepspeed ? 8 : 4;
  return std::max(copy, update);
}

double optimizer_bytes_per_parameter(const TrainingSpec& training) {
  const double master = has_master_weights(training.precision) ? 4 : 0;
  switch (training.optimizer.kind) {
    case OptimizerKind::kSgd:
      return master + (training.optimizer.momentum > 0 ? 4 : 0);
    case OptimizerKind::kAdamW:
    case OptimizerKind::kLamb:
    case OptimizerKind::kOneBitAdam:
    case OptimizerKind::kOneBitLamb:
    case OptimizerKind::kZeroOneAdam:
      return master + 8;
  }
  return master;
}

}  // namespace

MemoryParts memory_parts(const TrainingSpec& training,
                         std::int64_t world_size,
                         std::int64_t micro_batch,
                         const MemoryModel& model,
                         const StagePart& held) {
  const auto count = static_cast<double>(parameter_count(held.part));
  const double element = gradient_bytes_per_parameter(training.precision).value();
  const double shards = training.gradient_sync == GradientSync::kDeepspeedZero1
                            ? static_cast<double>(world_size)
                            : 1.0;
  const double activations =
      activation_bytes(training, held, micro_batch, model.activation_factor).value();
  const double transient = count * transient_bytes_per_parameter(training, world_size) / shards;
  const bool is_alone = world_size == 1 && training.parallelism.model_ranks() == 1;
  const bool buckets = training.gradient_sync == GradientSync::kDdp && world_size > 1;
  return {.weights = count * element,
          .gradients = count * element,
          .optimizer = count * optimizer_bytes_per_parameter(training) / shards,
          .buffers = std::max(0.0, transient - activations) + (buckets ? count * element : 0),
          .activations = activations,
          .constant = model.constant.value() + (is_alone ? model.alone.value() : 0)};
}

std::optional<std::int64_t> largest_micro_batch(const TrainingSpec& training,
                                                std::int64_t world_size,
                                                const MemoryModel& model,
                                                Bytes capacity,
                                                const StagePart& held) {
  const auto fits = [&](std::int64_t micro_batch) {
    return memory_parts(training, world_size, micro_batch, model, held).total() <= capacity.value();
  };
  if (!fits(1)) {
    return std::nullopt;
  }
  // Of a model whose activations take next to nothing any batch fits.
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  std::int64_t low = 1;
  std::int64_t high = 2;
  while (fits(high)) {
    if (high >= kMost) {
      return high;
    }
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace vitsim
