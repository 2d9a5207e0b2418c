#include "models/vit/memory.h"

#include <algorithm>
#include <cmath>

#include "models/vit/buckets.h"
#include "models/vit/compression.h"
#include "models/vit/cost_graph.h"
#include "models/vit/fsdp_units.h"
#include "models/vit/zero_3_gathers.h"

namespace vitsim {

namespace {

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

/// How a way to train holds its state among `world_size` ranks.
class Holdings {
 public:
  Holdings(const TrainingSpec& training, std::int64_t world_size, const ModelPart& part)
      : training_(training),
        part_(part),
        sync_(training.gradient_sync),
        ranks_(static_cast<double>(world_size)),
        count_(static_cast<double>(parameter_count(part))),
        element_(gradient_bytes_per_parameter(training.precision).value()) {
    if (sync_ == GradientSync::kFsdp && training.fsdp.shard_ranks) {
      shards_ = static_cast<double>(std::min(*training.fsdp.shard_ranks, world_size));
    } else {
      shards_ = ranks_;
    }
    if (sync_ == GradientSync::kDeepspeedZero3) {
      gathers_ = zero_3_gathers(training.model, training.zero);
      for (const std::int64_t elements : gathers_.persistent) {
        persistent_ += static_cast<double>(elements);
      }
    }
  }

  [[nodiscard]] double weights() const {
    const double whole = count_ * element_;
    switch (sync_) {
      case GradientSync::kDeepspeedZero3:
        return element_ *
               (persistent_ + (parameters_offloaded() ? 0 : (count_ - persistent_) / shards_));
      case GradientSync::kFsdp:
        return parameters_offloaded() ? 0 : whole / shards_;
      default:
        return whole;
    }
  }

  [[nodiscard]] double gradients() const {
    const double whole = count_ * element_;
    switch (sync_) {
      case GradientSync::kDeepspeedZero2:
      case GradientSync::kDeepspeedZero3:
        return optimizer_offloaded() ? 0 : whole / shards_;
      case GradientSync::kFsdp:
        return parameters_offloaded() ? 0 : whole / shards_;
      default:
        return whole;
    }
  }

  [[nodiscard]] double optimizer() const {
    const double whole = count_ * optimizer_bytes_per_parameter(training_);
    const double mine = optimizer_offloaded() ? 0 : whole / (shards_optimizer() ? shards_ : 1);
    return mine + further_state();
  }

  /// Of the pass itself, beside activations.
  [[nodiscard]] double beside_activations() const {
    const ZeroSpec& zero = training_.zero;
    const double bucket =
        zero.contiguous_gradients ? static_cast<double>(zero.reduce_bucket_size) * element_ : 0;
    switch (sync_) {
      case GradientSync::kDdp:
        return ranks_ > 1 ? count_ * element_ + hook_buffer() : 0;
      case GradientSync::kDeepspeedZero0:
      case GradientSync::kDistributedOptimizer:
        return 0;
      case GradientSync::kDeepspeedZero1:
        return zero.overlap_comm.value_or(false) ? 2 * bucket : 0;
      case GradientSync::kDeepspeedZero2:
        return (zero.overlap_comm.value_or(false) ? 2 : 1) * bucket;
      case GradientSync::kDeepspeedZero3:
        return bucket + (is_split() ? static_cast<double>(gathers_.most_gathered) * element_ : 0);
      case GradientSync::kFsdp:
        return is_split() ? gathered_units() : 0;
    }
    return 0;
  }

  /// What of it is given back with the activations: DDP's buckets stay.
  [[nodiscard]] double freed() const {
    return sync_ == GradientSync::kDdp ? 0 : beside_activations();
  }

  /// Between backward and the end of the update: the flat copy that is reduced, and in 16-bit
  /// training the fp32 gradients and, with DeepSpeed, the temporary of the update.
  [[nodiscard]] double after_activations() const {
    const bool deepspeed = sync_ != GradientSync::kDdp;
    const double per_parameter = has_master_weights(training_.precision) && deepspeed ? 8 : 4;
    const double update =
        optimizer_offloaded() ? 0 : count_ * per_parameter / (shards_optimizer() ? shards_ : 1);
    return std::max(flat_copy(), update);
  }

 private:
  [[nodiscard]] bool optimizer_offloaded() const {
    return training_.offload.optimizer != OffloadTarget::kNone;
  }

  [[nodiscard]] bool parameters_offloaded() const {
    return training_.offload.parameters != OffloadTarget::kNone;
  }

  /// Is something gathered at all?
  [[nodiscard]] bool is_split() const { return shards_ > 1 || parameters_offloaded(); }

  [[nodiscard]] bool shards_optimizer() const {
    return sync_ != GradientSync::kDdp && sync_ != GradientSync::kDeepspeedZero0;
  }

  [[nodiscard]] double flat_copy() const {
    const double whole = count_ * element_;
    const double bucket = static_cast<double>(training_.zero.reduce_bucket_size) * element_;
    switch (sync_) {
      case GradientSync::kDdp:
        return training_.local_updates && ranks_ > 1 ? whole : 0;
      case GradientSync::kDeepspeedZero0:
      case GradientSync::kDistributedOptimizer:
        return ranks_ > 1 ? whole : 0;
      case GradientSync::kDeepspeedZero1: {
        // Without overlap its bucket is filled behind backward.
        const bool filled_late =
            training_.zero.contiguous_gradients && !training_.zero.overlap_comm.value_or(false);
        return ranks_ > 1 ? std::min(bucket, whole) + (filled_late ? bucket : 0) : 0;
      }
      case GradientSync::kDeepspeedZero2:
      case GradientSync::kDeepspeedZero3:
      case GradientSync::kFsdp:
        return 0;
    }
    return 0;
  }

  /// The root, two blocks (all of them where none is given back), and one block's gradients.
  [[nodiscard]] double gathered_units() const {
    const FsdpUnits units = fsdp_units(training_.model);
    const auto block = static_cast<double>(units.largest_block());
    const double gathered =
        training_.fsdp.reshard_after_forward ? static_cast<double>(units.root) + 2 * block : count_;
    return gathered * element_ + block * reduce_bytes_per_parameter(training_).value();
  }

  /// What a communication hook works in.
  [[nodiscard]] double hook_buffer() const {
    if (!training_.communication_hook) {
      return 0;
    }
    if (training_.communication_hook->kind == HookKind::kPowerSgd) {
      return count_ * element_;  // what the factors left out, for the next step
    }
    std::int64_t largest = 0;
    for (const GradientBucket& bucket : gradient_buckets(part_, Bytes(element_))) {
      largest = std::max(largest, bucket.bytes);
    }
    return static_cast<double>(largest) / 2;
  }

  /// What compressed optimizers leave out and send later, and copies of the weights for outer
  /// steps, all in fp32.
  [[nodiscard]] double further_state() const {
    double elements = 0;
    if (compresses(training_.optimizer.kind)) {
      elements = count_ + count_ / ranks_;
    }
    if (training_.local_updates && training_.local_updates->kind != LocalUpdatesKind::kLocalSgd) {
      elements = 2 * count_;
    }
    return 4 * elements;
  }

  const TrainingSpec& training_;
  const ModelPart& part_;
  GradientSync sync_;
  double ranks_;
  double count_;    // parameters
  double element_;  // bytes of a weight, and of a gradient
  double shards_ = 1;
  Zero3Gathers gathers_;
  double persistent_ = 0;  // elements
};

}  // namespace

MemoryParts memory_parts(const TrainingSpec& training,
                         std::int64_t world_size,
                         std::int64_t micro_batch,
                         const MemoryModel& model,
                         const StagePart& held) {
  const Holdings holdings(training, world_size, held.part);
  const double activations =
      activation_bytes(training, held, micro_batch, model.activation_factor).value();
  const bool is_alone = world_size == 1 && training.parallelism.model_ranks() == 1;
  return {.weights = holdings.weights(),
          .gradients = holdings.gradients(),
          .optimizer = holdings.optimizer(),
          .buffers = holdings.beside_activations() +
                     std::max(0.0, holdings.after_activations() - activations - holdings.freed()),
          .activations = activations,
          .constant = model.constant.value() + (is_alone ? model.alone.value() : 0)};
}

Bytes host_bytes(const TrainingSpec& training, std::int64_t world_size) {
  const double element = gradient_bytes_per_parameter(training.precision).value();
  double per_parameter = 0;
  if (training.offload.optimizer == OffloadTarget::kCpu) {
    per_parameter += optimizer_bytes_per_parameter(training) + element;
  }
  if (training.offload.parameters == OffloadTarget::kCpu) {
    per_parameter += element;
  }
  return Bytes(per_parameter * static_cast<double>(parameter_count(training.model)) /
               static_cast<double>(world_size));
}

Bytes checkpoint_bytes(const TrainingSpec& training) {
  return Bytes(static_cast<double>(parameter_count(training.model)) *
               (gradient_bytes_per_parameter(training.precision).value() +
                optimizer_bytes_per_parameter(training)));
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
