#pragma once

#include <cstdint>
#include <optional>

#include "models/experiment/training.h"
#include "models/units.h"
#include "models/vit/activations.h"

namespace vitsim {

/// What one rank holds at the peak of a step, in bytes.
struct MemoryParts {
  double weights = 0;
  double gradients = 0;
  double optimizer = 0;
  double buffers = 0;
  double activations = 0;
  double constant = 0;

  [[nodiscard]] double total() const {
    return weights + gradients + optimizer + buffers + activations + constant;
  }
};

/// What one rank's GPU holds beside what its model and batch need.
struct MemoryModel {
  Bytes constant;                // context, libraries, allocator slack: measured per GPU
  Bytes alone;                   // what a single rank holds on top (measured: its caches differ)
  double activation_factor = 1;  // measured by computed activations
};

/// The ledger of one rank. Per parameter in fp32: weights 4 B, gradients 4 B, AdamW 8 B; fp16 and
/// bf16 hold weights and gradients in 2 B and fp32 masters beside the moments. Buffers: the flat
/// copy of deepspeed-zero-0 and the optimizer's temporaries live after backward, when activations
/// are gone, so only what exceeds the activations adds to the peak; DDP's buckets stay.
/// deepspeed-zero-1 divides the optimizer's share by the world size. Where the model is split, the
/// ledger is that of a rank which holds `held`, and `world_size` counts the ranks that hold the
/// same part.
MemoryParts memory_parts(const TrainingSpec& training,
                         std::int64_t world_size,
                         std::int64_t micro_batch,
                         const MemoryModel& model,
                         const StagePart& held);

/// The same for a rank that holds the whole model.
inline MemoryParts memory_parts(const TrainingSpec& training,
                                std::int64_t world_size,
                                std::int64_t micro_batch,
                                const MemoryModel& model) {
  return memory_parts(training, world_size, micro_batch, model, {.part = training.model});
}

/// The largest micro-batch whose ledger stays within `capacity`; none if not even one sample fits.
std::optional<std::int64_t> largest_micro_batch(const TrainingSpec& training,
                                                std::int64_t world_size,
                                                const MemoryModel& model,
                                                Bytes capacity,
                                                const StagePart& held);

inline std::optional<std::int64_t> largest_micro_batch(const TrainingSpec& training,
                                                       std::int64_t world_size,
                                                       const MemoryModel& model,
                                                       Bytes capacity) {
  return largest_micro_batch(training, world_size, model, capacity, {.part = training.model});
}

}  // namespace vitsim
