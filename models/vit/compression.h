#pragma once

#include <cstdint>
#include <span>

#include "models/experiment/training.h"
#include "models/vit/partition.h"

namespace vitsim {

/// What PowerSGD sends of some tensors (Vogels et al., 2019; PyTorch's hook): a tensor of R rows
/// and C columns as two factors of R and C rows, where that at least halves it; others as they are.
struct PowerSgdElements {
  std::int64_t plain = 0;
  std::int64_t left = 0;   // factors P
  std::int64_t right = 0;  // factors Q

  [[nodiscard]] std::int64_t total() const { return plain + left + right; }
};

/// `tensors`: indices into parameters(part).
PowerSgdElements power_sgd_elements(const ModelPart& part,
                                    std::span<const std::size_t> tensors,
                                    std::int64_t rank);

/// Does the optimizer send its momentum itself, compressed?
constexpr bool compresses(OptimizerKind kind) {
  return kind == OptimizerKind::kOneBitAdam || kind == OptimizerKind::kOneBitLamb ||
         kind == OptimizerKind::kZeroOneAdam;
}

/// The type in which FSDP reduces gradients.
Bytes reduce_bytes_per_parameter(const TrainingSpec& training);

}  // namespace vitsim
