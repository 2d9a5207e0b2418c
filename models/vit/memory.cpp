#include "models/vit/memory.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

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
  Holdings(const TrainingSpec& training,
           std::int64_t world_size,
           const ModelPart& part,
           std::optional<double> shard)
      : training_(training),
        part_(part),
        shard_(shard),
        sync_(training.gradient_sync),
        ranks_(static_cast<double>(world_size)),
        count_(static_cast<double>(parameter_count(part))),
        element_(gradient_bytes_per_parameter(training.precision).value()) {
    if (sync_ == GradientSync::kFsdp && training.fsdp.shard_ranks) {
      shards_ = static_cast<double>(std::min(*training.fsdp.shard_ranks, world_size));
    } else {
      shards_ = ranks_;
    }
    if (sync_ == GradientSync::kFsdp) {
      units_ = fsdp_units(part);
    }
    if (sync_ == GradientSync::kDeepspeedZero3) {
      gathers_ = zero_3_gathers(part, training.zero);
      for (const std::int64_t elements : gathers_.persistent) {
        persistent_ += static_cast<double>(elements);
      }
    }
  }

  void set_shard(double shard) { shard_ = shard; }

  [[nodiscard]] double weights() const {
    const double whole = count_ * element_;
    switch (sync_) {
      case GradientSync::kDeepspeedZero3:
        return element_ *
               (persistent_ + (parameters_offloaded() ? 0 : of_shard(count_ - persistent_)));
      case GradientSync::kFsdp:
        return parameters_offloaded() ? 0 : of_shard(whole);
      default:
        return whole;
    }
  }

  [[nodiscard]] double gradients() const {
    const double whole = count_ * element_;
    switch (sync_) {
      case GradientSync::kDeepspeedZero2:
      case GradientSync::kDeepspeedZero3:
        return optimizer_offloaded() ? 0 : of_shard(whole);
      case GradientSync::kFsdp:
        return parameters_offloaded() ? 0 : of_shard(whole);
      default:
        return whole;
    }
  }

  [[nodiscard]] double optimizer() const {
    const double whole = count_ * optimizer_bytes_per_parameter(training_);
    const double mine = optimizer_offloaded() ? 0 : shards_optimizer() ? of_shard(whole) : whole;
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
    const double whole = count_ * per_parameter;
    const double update = optimizer_offloaded() ? 0 : shards_optimizer() ? of_shard(whole) : whole;
    return std::max(flat_copy(), update);
  }

 private:
  /// What a rank holds of something that is split.
  [[nodiscard]] double of_shard(double whole) const {
    return shard_ ? whole * *shard_ : whole / shards_;
  }

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

  /// The root, two blocks (all of them where none is given back), and one block's gradients. Stages
  /// of a pipeline sum all gradients whole until their last micro-batch.
  [[nodiscard]] double gathered_units() const {
    const auto block = static_cast<double>(units_.largest_block());
    const double gathered = training_.fsdp.reshard_after_forward
                                ? static_cast<double>(units_.root) + 2 * block
                                : count_;
    const double summed = training_.parallelism.pipeline.stages > 1 ? count_ : 0;
    return (gathered + summed) * element_ + block * reduce_bytes_per_parameter(training_).value();
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
  std::optional<double> shard_;  // of all; none: one of `shards_`
  GradientSync sync_;
  double ranks_;
  double count_;    // parameters
  double element_;  // bytes of a weight, and of a gradient
  double shards_ = 1;
  FsdpUnits units_;
  Zero3Gathers gathers_;
  double persistent_ = 0;  // elements
};

MemoryParts parts_of(const Holdings& holdings, Bytes activations, Bytes constant) {
  return {.weights = holdings.weights(),
          .gradients = holdings.gradients(),
          .optimizer = holdings.optimizer(),
          .buffers =
              holdings.beside_activations() +
              std::max(0.0, holdings.after_activations() - activations.value() - holdings.freed()),
          .activations = activations.value(),
          .constant = constant.value()};
}

/// One rank of a kind, with a shard of any size.
class Vessel {
 public:
  Vessel(const TrainingSpec& training, std::int64_t world_size, const RankLimits& ranks)
      : held_(ranks.held.value_or(StagePart{.part = training.model})),
        holdings_(training, world_size, held_.part, 0.0),
        activations_(
            activation_bytes(training, held_, ranks.micro_batch, ranks.memory.activation_factor)),
        constant_(ranks.memory.constant),
        without_(total(0)),
        free_(std::max(0.0, ranks.capacity->value() - without_)) {}

  Vessel(const Vessel&) = delete;  // its holdings refer to its part
  Vessel& operator=(const Vessel&) = delete;
  Vessel(Vessel&&) = delete;
  Vessel& operator=(Vessel&&) = delete;
  ~Vessel() = default;

  /// Bytes that are left where it holds no state.
  [[nodiscard]] double free() const { return free_; }

  /// The share of the state that takes this part of the free bytes.
  [[nodiscard]] double share_at(double level) {
    if (free_ == 0) {
      return 0;
    }
    return end_of(0, 1, [&](double share) { return total(share) - without_ <= level * free_; });
  }

  /// The end of the stretch from `low` on where `holds`, which ends at or before `high`.
  template <class Holds>
  static double end_of(double low, double high, Holds holds) {
    constexpr int kBitsOfADouble = 60;
    for (int bit = 0; bit < kBitsOfADouble; ++bit) {
      const double middle = low + (high - low) / 2;
      (holds(middle) ? low : high) = middle;
    }
    return low;
  }

 private:
  double total(double share) {
    holdings_.set_shard(share);
    return parts_of(holdings_, activations_, constant_).total();
  }

  StagePart held_;
  Holdings holdings_;
  Bytes activations_;
  Bytes constant_;
  double without_;  // bytes that it takes without any state
  double free_;
};

}  // namespace

MemoryParts memory_parts(const TrainingSpec& training,
                         std::int64_t world_size,
                         std::int64_t micro_batch,
                         const MemoryModel& model,
                         const StagePart& held) {
  const bool is_alone = world_size == 1 && training.parallelism.model_ranks() == 1;
  return parts_of(Holdings(training, world_size, held.part, held.shard),
                  activation_bytes(training, held, micro_batch, model.activation_factor),
                  model.constant + (is_alone ? model.alone : Bytes(0)));
}

std::optional<std::vector<double>> shards_by_memory(const TrainingSpec& training,
                                                    std::span<const RankLimits> ranks) {
  if (ranks.empty() || !std::ranges::all_of(ranks, [](const RankLimits& each) {
        return each.capacity.has_value();
      })) {
    return std::nullopt;
  }
  std::int64_t world_size = 0;
  for (const RankLimits& each : ranks) {
    world_size += each.count;
  }
  std::deque<Vessel> vessels;
  double room = 0;
  for (const RankLimits& each : ranks) {
    room += vessels.emplace_back(training, world_size, each).free();
  }
  std::vector<double> shares(ranks.size(), 1 / static_cast<double>(world_size));
  if (room <= 0) {
    return shares;  // out of memory, however it is dealt
  }
  const auto held_at = [&](double level) {
    double sum = 0;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      shares[i] = vessels[i].share_at(level);
      sum += static_cast<double>(ranks[i].count) * shares[i];
    }
    return sum;
  };
  double high = 1;
  while (held_at(high) < 1) {
    high *= 2;  // more than there is
  }
  const double sum =
      held_at(Vessel::end_of(0, high, [&](double level) { return held_at(level) < 1; }));
  for (double& share : shares) {
    share /= sum;
  }
  return shares;
}

Bytes host_bytes(const TrainingSpec& training, std::int64_t world_size, const StagePart& held) {
  const double element = gradient_bytes_per_parameter(training.precision).value();
  double per_parameter = 0;
  if (training.offload.optimizer == OffloadTarget::kCpu) {
    per_parameter += optimizer_bytes_per_parameter(training) + element;
  }
  if (training.offload.parameters == OffloadTarget::kCpu) {
    per_parameter += element;
  }
  const double whole = per_parameter * static_cast<double>(parameter_count(held.part));
  return Bytes(held.shard ? whole * *held.shard : whole / static_cast<double>(world_size));
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
