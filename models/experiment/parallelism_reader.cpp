// How the work of a training is split and shrunk, as the training section says it, and which
// combinations frameworks refuse: PyTorch's hooks belong to DDP; DeepSpeed's 1-bit optimizers do
// not shard; its pipelines go with stages 0 and 1; its stages and FSDP shard what tensor and
// pipeline parallelism leave of the model. Each refusal says what to change.
#include "models/experiment/parallelism_reader.h"

#include <string>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/experiment/limits.h"
#include "models/experiment/rank_layout.h"

namespace vitsim {

namespace {

constexpr std::int64_t kMostElements = 1'000'000'000'000'000;

ZeroSpec read_zero(const Field& field) {
  ZeroSpec zero;
  ObjectReader object(field);
  object.read("reduce_bucket_size", zero.reduce_bucket_size, 1, kMostElements);
  object.read("allgather_bucket_size", zero.allgather_bucket_size, 1, kMostElements);
  if (const auto overlap = object.find("overlap_comm")) {
    zero.overlap_comm = overlap->boolean();
  }
  object.read("contiguous_gradients", zero.contiguous_gradients);
  object.read("use_multi_rank_bucket_allreduce", zero.multi_rank_bucket_allreduce);
  object.read("prefetch_bucket_size", zero.prefetch_bucket_size, 0, kMostElements);
  object.read("param_persistence_threshold", zero.param_persistence_threshold, 0, kMostElements);
  object.read("max_live_parameters", zero.max_live_parameters, 0, kMostElements);
  object.read("max_reuse_distance", zero.max_reuse_distance, 0, kMostElements);
  object.finish();
  return zero;
}

FsdpSpec read_fsdp(const Field& field) {
  static constexpr std::array<std::string_view, 3> kTypes = {"fp32", "fp16", "bf16"};
  static constexpr std::array<Precision, 3> kPrecisions = {
      Precision::kFp32, Precision::kFp16, Precision::kBf16};
  FsdpSpec fsdp;
  ObjectReader object(field);
  object.read("reshard_after_forward", fsdp.reshard_after_forward);
  if (const auto ranks = object.find("shard_ranks")) {
    fsdp.shard_ranks = ranks->integer(1, kMostRanks);
  }
  if (const auto precision = object.find("reduce_precision")) {
    if (const auto index = precision->choice(kTypes)) {
      fsdp.reduce_precision = kPrecisions[*index];
    }
  }
  object.finish();
  return fsdp;
}

PipelineSpec read_pipeline(const Field& field) {
  PipelineSpec pipeline;
  ObjectReader object(field);
  object.read("stages", pipeline.stages, 1, kMostRanks);
  object.read("schedule", pipeline.schedule, kPipelineScheduleNames);
  object.read("chunks", pipeline.chunks, 1, kMostRanks);
  if (const auto batches = object.find("micro_batches")) {
    pipeline.micro_batches = batches->integer(1, kMostRanks);
  }
  object.finish();
  return pipeline;
}

SequenceSpec read_sequence(const Field& field) {
  SequenceSpec sequence;
  ObjectReader object(field);
  if (const auto kind = object.require("kind")) {
    if (const auto index = kind->choice(kSequenceKindNames)) {
      sequence.kind = static_cast<SequenceKind>(*index);
    }
  }
  object.read("ranks", sequence.ranks, 1, kMostRanks);
  object.read("pad", sequence.pad);
  object.finish();
  return sequence;
}

ParallelismSpec read_degrees(const Field& field) {
  ParallelismSpec parallelism;
  ObjectReader object(field);
  object.read("tensor", parallelism.tensor, 1, kMostRanks);
  if (const auto pipeline = object.find("pipeline")) {
    // A plain number is the stages of the usual schedule.
    if (pipeline->is_number()) {
      parallelism.pipeline.stages = pipeline->integer(1, kMostRanks).value_or(1);
    } else {
      parallelism.pipeline = read_pipeline(*pipeline);
    }
  }
  if (const auto sequence = object.find("sequence")) {
    parallelism.sequence = read_sequence(*sequence);
  }
  if (const auto data = object.find("data")) {
    parallelism.data = data->integer(1, kMostRanks);
  }
  object.finish();
  return parallelism;
}

OffloadSpec read_offload(const Field& field) {
  OffloadSpec offload;
  ObjectReader object(field);
  object.read("optimizer", offload.optimizer, kOffloadTargetNames);
  object.read("parameters", offload.parameters, kOffloadTargetNames);
  object.finish();
  return offload;
}

HookSpec read_hook(const Field& field) {
  HookSpec hook;
  ObjectReader object(field);
  if (const auto type = object.require("type")) {
    if (const auto index = type->choice(kHookNames)) {
      hook.kind = static_cast<HookKind>(*index);
    }
  }
  object.read("rank", hook.rank, 1, 10'000);
  object.read("start_step", hook.start_step, 0, kMostSteps);
  object.finish();
  return hook;
}

LocalUpdatesSpec read_local_updates(const Field& field) {
  LocalUpdatesSpec updates;
  ObjectReader object(field);
  if (const auto type = object.require("type")) {
    if (const auto index = type->choice(kLocalUpdatesNames)) {
      updates.kind = static_cast<LocalUpdatesKind>(*index);
    }
  }
  if (const auto every = object.require("every")) {
    updates.every = every->integer(1, kMostSteps).value_or(1);
  }
  object.finish();
  return updates;
}

class Checker {
 public:
  Checker(ObjectReader& object, const TrainingSpec& training, std::int64_t world_size)
      : object_(object), training_(training), world_size_(world_size) {}

  void check() {
    check_degrees();
    check_pipeline();
    check_sequence();
    check_sharding();
    check_optimizer();
    check_hook();
    check_offload();
    check_local_updates();
  }

 private:
  // The field of a key, or the section where the value comes from elsewhere.
  [[nodiscard]] Field at(std::string_view key) const {
    return object_.find(key).value_or(object_.field());
  }

  [[nodiscard]] Field degrees(std::string_view key) const {
    const Field field = at("parallelism");
    return field.is_object() ? ObjectReader(field).find(key).value_or(field) : field;
  }

  [[nodiscard]] std::string sync() const { return std::string(name(training_.gradient_sync)); }

  void check_degrees() {
    const ParallelismSpec& split = training_.parallelism;
    const VitSpec& model = training_.model;
    if (model.heads % split.tensor != 0 || model.mlp % split.tensor != 0) {
      degrees("tensor").problem(fmt::format(
          "tensor parallelism of {} does not divide the model's {} heads and MLP width {}: choose "
          "a divisor of both",
          split.tensor,
          model.heads,
          model.mlp));
    }
    if (world_size_ <= 0) {
      return;
    }
    const std::int64_t whole = split.model_ranks();
    if (world_size_ % whole != 0) {
      at("parallelism")
          .problem(fmt::format(
              "tensor {} x sequence {} x pipeline {} = {} ranks do not divide the world size {}: "
              "change a degree or the number of GPUs",
              split.tensor,
              split.sequence_ranks(),
              split.pipeline.stages,
              whole,
              world_size_));
    } else if (split.data && *split.data != world_size_ / whole) {
      degrees("data").problem(
          fmt::format("data parallelism of {} does not match: {} ranks by tensor {}, sequence {} "
                      "and pipeline {} leave {}; leave \"data\" out to have it follow",
                      *split.data,
                      world_size_,
                      split.tensor,
                      split.sequence_ranks(),
                      split.pipeline.stages,
                      world_size_ / whole));
    }
    if (world_size_ % whole == 0) {
      check_replicas();
    }
    const std::int64_t data_ranks = world_size_ / whole;
    if (training_.fsdp.shard_ranks && training_.gradient_sync == GradientSync::kFsdp &&
        data_ranks % *training_.fsdp.shard_ranks != 0) {
      at("fsdp").problem(fmt::format("shard_ranks {} do not divide the {} data-parallel ranks",
                                     *training_.fsdp.shard_ranks,
                                     data_ranks));
    }
  }

  /// Ranks that hold a replica of the model together go through the same micro-batches.
  void check_replicas() {
    const std::vector<std::int64_t>& batches = training_.micro_batch;
    if (batches.size() != static_cast<std::size_t>(world_size_)) {
      return;
    }
    const RankLayout layout(training_.parallelism, world_size_);
    for (std::int64_t rank = 0; rank < world_size_; ++rank) {
      const std::int64_t first = layout.position({.data = layout.place(rank).data});
      const std::int64_t own = batches[static_cast<std::size_t>(rank)];
      const std::int64_t of_first = batches[static_cast<std::size_t>(first)];
      if (own != of_first) {
        at("micro_batch_per_gpu")
            .problem(fmt::format("ranks {} and {} hold one replica of the model together, but have "
                                 "micro-batches of {} and {}: give all ranks of a replica the same",
                                 first,
                                 rank,
                                 of_first,
                                 own));
        return;
      }
    }
  }

  void check_pipeline() {
    const PipelineSpec& pipeline = training_.parallelism.pipeline;
    if (pipeline.chunks > 1 && pipeline.schedule != PipelineSchedule::kInterleaved) {
      degrees("pipeline")
          .problem(
              "\"chunks\" are of the interleaved schedule: write \"schedule\": \"interleaved\"");
    }
    if (pipeline.stages == 1) {
      if (pipeline.chunks > 1) {
        degrees("pipeline")
            .problem(fmt::format("one stage of {} chunks is no pipeline: write at least 2 stages, "
                                 "or leave \"chunks\" out",
                                 pipeline.chunks));
      }
      return;
    }
    const std::int64_t parts = pipeline.stages * pipeline.chunks;
    if (parts > training_.model.layers) {
      degrees("pipeline")
          .problem(fmt::format(
              "{} stages{} are more than the model's {} blocks: at most one stage a block",
              parts,
              pipeline.chunks > 1 ? " (stages x chunks)" : "",
              training_.model.layers));
    }
    if (pipeline.micro_batches && training_.accumulation > 1 &&
        *pipeline.micro_batches != training_.accumulation) {
      at("gradient_accumulation_steps")
          .problem(fmt::format("{} disagrees with pipeline's micro_batches {}: a pipeline's "
                               "micro-batches are the accumulation; keep one of the two",
                               training_.accumulation,
                               *pipeline.micro_batches));
    }
    const std::int64_t batches = pipeline.micro_batches.value_or(training_.accumulation);
    if (pipeline.schedule == PipelineSchedule::kInterleaved && batches % pipeline.stages != 0) {
      degrees("pipeline")
          .problem(fmt::format(
              "the interleaved schedule needs a multiple of {} micro-batches, one for each stage; "
              "there are {}",
              pipeline.stages,
              batches));
    }
  }

  void check_sequence() {
    const ParallelismSpec& split = training_.parallelism;
    if (!split.sequence) {
      return;
    }
    const Field field = degrees("sequence");
    const VitSpec& model = training_.model;
    std::int64_t parts = split.sequence->ranks;
    if (split.sequence->kind == SequenceKind::kMegatron) {
      if (split.tensor == 1) {
        field.problem("megatron's sequence split goes with tensor parallelism above 1");
      } else if (parts != 1 && parts != split.tensor) {
        field.problem(
            fmt::format("megatron splits tokens among the {} tensor-parallel ranks, not "
                        "{}: leave \"ranks\" out",
                        split.tensor,
                        parts));
      }
      parts = split.tensor;
    } else if (split.sequence->kind == SequenceKind::kUlysses &&
               model.heads % (parts * split.tensor) != 0) {
      field.problem(
          fmt::format("ulysses splits the model's {} heads among {} ranks, which does not divide",
                      model.heads,
                      parts * split.tensor));
    }
    const std::int64_t tokens = model.tokens();
    if (tokens % parts != 0 && !split.sequence->pad) {
      const std::int64_t padded = (tokens + parts - 1) / parts * parts;
      field.problem(
          fmt::format("{} tokens do not split into {} equal parts: write \"pad\": true "
                      "to pad them to {}, {:.1f} % more work",
                      tokens,
                      parts,
                      padded,
                      100.0 * static_cast<double>(padded - tokens) / static_cast<double>(tokens)));
    }
  }

  void check_sharding() {
    const bool shards_gradients = training_.gradient_sync == GradientSync::kDeepspeedZero2 ||
                                  training_.gradient_sync == GradientSync::kDeepspeedZero3;
    if (shards_gradients && training_.parallelism.pipeline.stages > 1) {
      at("gradient_sync")
          .problem(fmt::format("{} does not go with a pipeline: DeepSpeed's pipelines take stages "
                               "0 and 1; write deepspeed-zero-1 or one pipeline stage",
                               sync()));
    }
    const bool shards_anything = shards_gradients || training_.gradient_sync == GradientSync::kFsdp;
    if (shards_anything && training_.parallelism.pipeline.stages == 1 &&
        training_.parallelism.model_ranks() > 1) {
      at("gradient_sync")
          .problem(fmt::format("{} is not modelled beside tensor or sequence parallelism: write "
                               "deepspeed-zero-1, distributed-optimizer or ddp",
                               sync()));
    } else if (training_.gradient_sync == GradientSync::kFsdp &&
               training_.parallelism.pipeline.stages > 1) {
      at("gradient_sync")
          .problem("fsdp is not modelled in a pipeline: write deepspeed-zero-1 or ddp");
    }
  }

  void check_optimizer() {
    const OptimizerKind kind = training_.optimizer.kind;
    const bool compressed = kind == OptimizerKind::kOneBitAdam ||
                            kind == OptimizerKind::kOneBitLamb ||
                            kind == OptimizerKind::kZeroOneAdam;
    if (compressed && training_.gradient_sync != GradientSync::kDeepspeedZero0) {
      at("gradient_sync")
          .problem(fmt::format("{} does not go with {}: DeepSpeed's compressed optimizers send "
                               "momentum themselves; write deepspeed-zero-0, or adamw",
                               name(kind),
                               sync()));
    }
    if (compressed && training_.parallelism.model_ranks() > 1) {
      at("parallelism").problem(fmt::format("{} goes with data parallelism alone", name(kind)));
    }
  }

  void check_hook() {
    if (!training_.communication_hook) {
      return;
    }
    const Field field = at("communication_hook");
    if (training_.gradient_sync != GradientSync::kDdp) {
      field.problem(
          fmt::format("communication hooks belong to ddp, not to {}: write "
                      "\"gradient_sync\": \"ddp\" or leave the hook out",
                      sync()));
    }
    const bool short_gradients = gradient_bytes_per_parameter(training_.precision) < Bytes(4);
    if (short_gradients && training_.communication_hook->kind != HookKind::kPowerSgd) {
      field.problem(fmt::format("gradients of {} have 16 bits already: leave the hook out",
                                name(training_.precision)));
    }
  }

  void check_offload() {
    const OffloadSpec& offload = training_.offload;
    const bool zero_3 = training_.gradient_sync == GradientSync::kDeepspeedZero3;
    const bool fsdp = training_.gradient_sync == GradientSync::kFsdp;
    const bool shards = zero_3 || fsdp ||
                        training_.gradient_sync == GradientSync::kDeepspeedZero1 ||
                        training_.gradient_sync == GradientSync::kDeepspeedZero2;
    if (offload.optimizer != OffloadTarget::kNone && !shards) {
      at("offload").problem(fmt::format(
          "the optimizer is offloaded with deepspeed-zero-1, -2, -3 and fsdp, not with {}",
          sync()));
    }
    if (offload.parameters != OffloadTarget::kNone && !zero_3 && !fsdp) {
      at("offload").problem(fmt::format(
          "parameters are offloaded with deepspeed-zero-3 and fsdp, not with {}", sync()));
    }
    const bool nvme =
        offload.optimizer == OffloadTarget::kNvme || offload.parameters == OffloadTarget::kNvme;
    if (nvme && !zero_3) {
      at("offload").problem("only deepspeed-zero-3 offloads to NVMe: write \"cpu\"");
    }
  }

  void check_local_updates() {
    if (!training_.local_updates) {
      return;
    }
    if (training_.gradient_sync != GradientSync::kDdp) {
      at("local_updates")
          .problem(fmt::format("ranks that train by themselves hold all weights: write "
                               "\"gradient_sync\": \"ddp\" instead of {}",
                               sync()));
    }
    if (training_.communication_hook) {
      at("local_updates").problem("a communication hook has nothing to do between local updates");
    }
    if (training_.parallelism.model_ranks() > 1) {
      at("local_updates").problem("local updates go with data parallelism alone");
    }
  }

  ObjectReader& object_;
  const TrainingSpec& training_;
  std::int64_t world_size_;
};

}  // namespace

void read_parallelism(ObjectReader& object, TrainingSpec& training) {
  if (const auto zero = object.find("zero")) {
    training.zero = read_zero(*zero);
  }
  if (const auto fsdp = object.find("fsdp")) {
    training.fsdp = read_fsdp(*fsdp);
  }
  if (const auto degrees = object.find("parallelism")) {
    training.parallelism = read_degrees(*degrees);
  }
  object.read("recompute", training.recompute, kRecomputeNames);
  if (const auto offload = object.find("offload")) {
    training.offload = read_offload(*offload);
  }
  if (const auto hook = object.find("communication_hook")) {
    training.communication_hook = read_hook(*hook);
  }
  if (const auto updates = object.find("local_updates")) {
    training.local_updates = read_local_updates(*updates);
  }
}

void check_parallelism(ObjectReader& object,
                       const TrainingSpec& training,
                       std::int64_t world_size) {
  Checker(object, training, world_size).check();
}

}  // namespace vitsim
