#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

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
/// bf16 hold weights and gradients in 2 B and fp32 masters beside the moments. Each way to train
/// divides its share of them by its shards: of N ranks, ZeRO-1 and the distributed optimizer hold
/// 4 + 12/N bytes a parameter in 16-bit training, ZeRO-2 2 + 14/N, ZeRO-3 and FSDP 16/N.
///
/// Buffers: the flat copy that DeepSpeed reduces and the optimizer's temporaries live after
/// backward, when activations are gone, so only what exceeds the activations adds to the peak.
/// DDP's buckets stay. ZeRO-2, and ZeRO-1 where it overlaps, allocate a bucket of
/// `reduce_bucket_size` elements in every backward, two where they overlap, however small the
/// model; ZeRO-3 keeps one. ZeRO-3 and FSDP hold the weights that they have gathered: what
/// zero_3_gathers tells; the root, two blocks and the gradients of one.
/// Where the model is split, the ledger is that of a rank which holds `held`, and `world_size`
/// counts the ranks that hold the same part. A rank with a shard of its own size holds that.
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

/// Ranks of one kind, and what their GPUs hold.
struct RankLimits {
  std::int64_t count = 1;
  std::int64_t micro_batch = 1;
  MemoryModel memory;
  std::optional<Bytes> capacity;
  std::optional<StagePart> held;  // of the model; none: all of it
};

/// The share of the state that one rank of each kind holds where shards follow memory: state is
/// poured into what the GPUs have left at their micro-batches like water into vessels, until it
/// takes the same part of it on every GPU. So ranks with less memory hold less, and it all fits
/// where any shares would. All ranks together hold 1. Nothing where a GPU's memory is not known.
std::optional<std::vector<double>> shards_by_memory(const TrainingSpec& training,
                                                    std::span<const RankLimits> ranks);

/// What the state of a rank that holds `held` takes of its host's memory where it is offloaded:
/// masters and moments, gradients, and the weights where they are offloaded too. `world_size`
/// counts the ranks that split it.
Bytes host_bytes(const TrainingSpec& training, std::int64_t world_size, const StagePart& held);

/// What a checkpoint holds, all ranks together: weights, masters where there are any, and the
/// optimizer's state; 12 bytes a parameter with Adam in fp32.
Bytes checkpoint_bytes(const TrainingSpec& training);

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
