#include "models/vit/activations.h"

#include <algorithm>

#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

// Bytes per token and channel of one block in 16 bits, fused attention: what every tensor-parallel
// rank keeps whole (inputs of norms and products, residuals), and what it keeps a shard of.
constexpr double kWhole = 9.1;
constexpr double kSharded = 29.2;

// What one block keeps of one sample.
Bytes block_bytes(const TrainingSpec& training, const ModelPart& part, double factor) {
  ModelPart one = part.only_blocks();
  one.blocks = {{.first = 0, .last = 1}};
  if (training.parallelism.model_ranks() == 1) {
    return factor * activation_bytes_per_sample(one, training.precision);
  }
  const auto t = static_cast<double>(part.tensor);
  const double per_element = (part.norms_split ? kWhole / t : kWhole) + kSharded / t;
  const double width = arithmetic_bytes(training.precision).value() / 2;
  return Bytes(per_element * width * static_cast<double>(part.tokens() * part.model.width));
}

// What a block keeps whose forward pass runs again in backward.
Bytes recomputed_block_bytes(const TrainingSpec& training, const ModelPart& part, double factor) {
  const auto elements = static_cast<double>(part.norm_tokens() * part.model.width);
  switch (training.recompute) {
    case Recompute::kBlock:
      return elements * arithmetic_bytes(training.precision);
    case Recompute::kAttention: {
      // Query, key and value are needed to compute it again, its output by the product behind it:
      // of fused attention only the sums of its exponentials go.
      const std::int64_t heads = part.model.heads / part.tensor;
      const auto sums = static_cast<double>(heads * part.tokens());
      return block_bytes(training, part, factor) - Bytes(4 * sums);
    }
    case Recompute::kNone:
      break;
  }
  return block_bytes(training, part, factor);
}

}  // namespace

double live_micro_batches(const TrainingSpec& training, std::int64_t stage) {
  const PipelineSpec& pipeline = training.parallelism.pipeline;
  const std::int64_t stages = pipeline.stages;
  if (stages == 1) {
    return 1;
  }
  const std::int64_t batches = pipeline.micro_batches.value_or(training.accumulation);
  switch (pipeline.schedule) {
    case PipelineSchedule::kGpipe:
      return static_cast<double>(batches);
    case PipelineSchedule::k1F1B:
      return static_cast<double>(std::min(stages - stage, batches));
    case PipelineSchedule::kInterleaved: {
      const std::int64_t warm_up = 2 * (stages - stage - 1) + (pipeline.chunks - 1) * stages;
      return static_cast<double>(std::min(warm_up + 1, batches * pipeline.chunks)) /
             static_cast<double>(pipeline.chunks);
    }
  }
  return 1;
}

Bytes activation_bytes(const TrainingSpec& training,
                       const StagePart& held,
                       std::int64_t micro_batch,
                       double factor) {
  const ModelPart& part = held.part;
  const auto samples = static_cast<double>(micro_batch);
  const double live = live_micro_batches(training, held.stage);
  const auto blocks = static_cast<double>(part.block_count());
  const Bytes ends = factor * activation_bytes_per_sample(part.only_ends(), training.precision);
  const Bytes block = recomputed_block_bytes(training, part, factor);
  Bytes kept = live * (blocks * block + ends);
  if (training.recompute == Recompute::kBlock && blocks > 0) {
    kept += block_bytes(training, part, factor) - block;
  }
  return samples * kept;
}

}  // namespace vitsim
