#pragma once

#include <cstdint>
#include <optional>

#include "models/experiment/training.h"
#include "models/units.h"
#include "models/vit/partition.h"

namespace vitsim {

/// A rank's part of the model, the pipeline stage at which it stands, and its share of the state
/// that the ranks which hold the same part split among them.
struct StagePart {
  ModelPart part;
  std::int64_t stage = 0;
  std::optional<double> shard;  // between 0 and 1; none: as much as any other
};

/// Micro-batches whose activations a stage keeps at once, as shares of all of its blocks: GPipe
/// keeps all m, 1F1B min(stages - stage, m); the interleaved schedule counts chunks.
double live_micro_batches(const TrainingSpec& training, std::int64_t stage);

/// Activations that a rank keeps for backward at the peak of a step. `factor` is what a GPU's own
/// measurement shows of the ledger of a model that nobody splits. The blocks of a split model keep
/// (9.1 + 29.2 / t) S D bytes a sample in 16 bits, with Megatron's sequence split all of it by t,
/// as measured for ViTs of width 1280 and 2560 with fused attention. Recomputed blocks keep their
/// input, 2 S D bytes, and one of them everything.
Bytes activation_bytes(const TrainingSpec& training,
                       const StagePart& held,
                       std::int64_t micro_batch,
                       double factor);

}  // namespace vitsim
