#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/precision.h"

namespace vitsim {

/// DeepSpeed's `zero_optimization`, in elements. Which keys a stage reads is as in DeepSpeed.
struct ZeroSpec {
  std::int64_t reduce_bucket_size = 500'000'000;
  std::int64_t allgather_bucket_size = 500'000'000;
  std::optional<bool> overlap_comm;  // DeepSpeed's default: only in stage 3
  bool contiguous_gradients = true;
  bool multi_rank_bucket_allreduce = true;         // false: one rooted Reduce for each rank's part
  std::int64_t prefetch_bucket_size = 50'000'000;  // from here on: stage 3
  std::int64_t param_persistence_threshold = 100'000;
  std::int64_t max_live_parameters = 1'000'000'000;
  std::int64_t max_reuse_distance = 1'000'000'000;

  bool operator==(const ZeroSpec&) const = default;
};

/// PyTorch's fully sharded data parallelism (FSDP2): each encoder block a unit, the rest the root.
struct FsdpSpec {
  bool reshard_after_forward = true;
  std::optional<std::int64_t> shard_ranks;    // fewer than the ranks: hybrid shards
  std::optional<Precision> reduce_precision;  // fp32, fp16 or bf16; none: the gradients' own

  bool operator==(const FsdpSpec&) const = default;
};

enum class PipelineSchedule { k1F1B, kGpipe, kInterleaved };
inline constexpr std::array<std::string_view, 3> kPipelineScheduleNames = {
    "1f1b", "gpipe", "interleaved"};

struct PipelineSpec {
  std::int64_t stages = 1;
  PipelineSchedule schedule = PipelineSchedule::k1F1B;
  std::int64_t chunks = 1;  // of blocks per rank, interleaved only
  /// Micro-batches of `micro_batch_per_gpu` samples in flight per step; none: the accumulation.
  std::optional<std::int64_t> micro_batches;

  bool operator==(const PipelineSpec&) const = default;
};

/// How the tokens of a sample are split: Megatron's beside tensor parallelism, Ulysses' AllToAlls
/// between tokens and heads, or ring attention.
enum class SequenceKind { kMegatron, kUlysses, kRing };
inline constexpr std::array<std::string_view, 3> kSequenceKindNames = {
    "megatron", "ulysses", "ring"};

struct SequenceSpec {
  SequenceKind kind = SequenceKind::kUlysses;
  std::int64_t ranks = 1;  // megatron: the tensor-parallel ranks
  bool pad = false;        // tokens that do not split evenly are filled up

  bool operator==(const SequenceSpec&) const = default;
};

/// How ZeRO-3 and FSDP deal the model's state to the ranks: in equal shards, as the frameworks do;
/// so that less goes where less memory is left; or in given proportions.
struct ShardsSpec {
  bool by_memory = false;
  std::vector<double> proportions;  // by rank; empty: equal

  bool operator==(const ShardsSpec&) const = default;

  [[nodiscard]] bool are_even() const { return !by_memory && proportions.empty(); }
};

/// Degrees of parallelism; ranks are dealt tensor first, then sequence, data, pipeline.
struct ParallelismSpec {
  std::int64_t tensor = 1;
  PipelineSpec pipeline;
  std::optional<SequenceSpec> sequence;
  std::optional<std::int64_t> data;  // only to be checked: it follows from the world size
  ShardsSpec shards;

  bool operator==(const ParallelismSpec&) const = default;

  /// Ranks among which the tokens are split besides tensor parallelism.
  [[nodiscard]] std::int64_t sequence_ranks() const {
    return sequence && sequence->kind != SequenceKind::kMegatron ? sequence->ranks : 1;
  }

  [[nodiscard]] bool splits_tokens_with_tensor() const {
    return sequence && sequence->kind == SequenceKind::kMegatron && tensor > 1;
  }

  /// Ranks that hold one replica of the model together.
  [[nodiscard]] std::int64_t model_ranks() const {
    return tensor * sequence_ranks() * pipeline.stages;
  }
};

/// What forward does not keep for backward, which computes it again.
enum class Recompute { kNone, kAttention, kBlock };
inline constexpr std::array<std::string_view, 3> kRecomputeNames = {"none", "attention", "block"};

enum class OffloadTarget { kNone, kCpu, kNvme };
inline constexpr std::array<std::string_view, 3> kOffloadTargetNames = {"none", "cpu", "nvme"};

struct OffloadSpec {
  OffloadTarget optimizer = OffloadTarget::kNone;
  OffloadTarget parameters = OffloadTarget::kNone;

  bool operator==(const OffloadSpec&) const = default;

  [[nodiscard]] bool any() const {
    return optimizer != OffloadTarget::kNone || parameters != OffloadTarget::kNone;
  }
};

/// DDP's communication hooks.
enum class HookKind { kFp16, kBf16, kPowerSgd };
inline constexpr std::array<std::string_view, 3> kHookNames = {"fp16", "bf16", "powersgd"};

struct HookSpec {
  HookKind kind = HookKind::kBf16;
  std::int64_t rank = 1;         // powersgd: of the factors
  std::int64_t start_step = 10;  // powersgd: plain AllReduce before

  bool operator==(const HookSpec&) const = default;
};

/// Ranks that train by themselves and average every so many steps.
enum class LocalUpdatesKind { kLocalSgd, kDiloco, kCo2 };
inline constexpr std::array<std::string_view, 3> kLocalUpdatesNames = {
    "local-sgd", "diloco", "co2"};

struct LocalUpdatesSpec {
  LocalUpdatesKind kind = LocalUpdatesKind::kLocalSgd;
  std::int64_t every = 1;  // steps between two averages

  bool operator==(const LocalUpdatesSpec&) const = default;
};

}  // namespace vitsim
