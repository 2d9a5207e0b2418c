#include "models/experiment/trainable.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

namespace {

// Sentences "KEY VALUE can be predicted, not trained: CURE".
class Refusals {
 public:
  explicit Refusals(std::string file) : file_(std::move(file)) {}

  void add(std::string_view what, std::string_view cure) {
    sentences_.push_back(
        fmt::format("{}: {} can be predicted, not trained: {}", file_, what, cure));
  }

  [[nodiscard]] std::vector<std::string> take() { return std::move(sentences_); }

 private:
  std::string file_;
  std::vector<std::string> sentences_;
};

void add_splits(const TrainingSpec& training, Refusals& refusals) {
  const ParallelismSpec& split = training.parallelism;
  const auto refuse = [&](std::string_view what) {
    refusals.add(what, "leave it out, so that every rank is data-parallel");
  };
  if (split.tensor > 1) {
    refuse("training.parallelism.tensor");
  }
  if (split.pipeline.stages > 1) {
    refuse("training.parallelism.pipeline");
  }
  if (split.sequence) {
    refuse("training.parallelism.sequence");
  }
  if (training.model.is_token_model()) {
    refusals.add("a token model", "name a Vision Transformer");
  }
}

void add_sharding(const TrainingSpec& training, std::int64_t world_size, Refusals& refusals) {
  if (training.gradient_sync == GradientSync::kDeepspeedZero3) {
    refusals.add("training.gradient_sync deepspeed-zero-3",
                 "fsdp also shards weights, gradients and optimizer state");
  }
  const bool buckets = training.gradient_sync == GradientSync::kDeepspeedZero1 ||
                       training.gradient_sync == GradientSync::kDeepspeedZero2;
  if (buckets && !training.zero.multi_rank_bucket_allreduce) {
    refusals.add("training.zero.use_multi_rank_bucket_allreduce false",
                 "leave it out: gradients are then summed by AllReduce");
  }
  if (training.gradient_sync == GradientSync::kFsdp && training.fsdp.shard_ranks &&
      *training.fsdp.shard_ranks != world_size) {
    refusals.add("training.fsdp.shard_ranks", "leave it out to shard over all ranks");
  }
  if (!training.parallelism.shards.are_even()) {
    refusals.add("training.parallelism.shards", "write \"even\" or leave it out");
  }
  if (training.offload.any()) {
    refusals.add("training.offload", "leave it out");
  }
}

void add_compression(const TrainingSpec& training, Refusals& refusals) {
  switch (training.optimizer.kind) {
    case OptimizerKind::kOneBitAdam:
    case OptimizerKind::kOneBitLamb:
    case OptimizerKind::kZeroOneAdam:
      refusals.add(fmt::format("training.optimizer.type {}", name(training.optimizer.kind)),
                   "write adamw, sgd or lamb");
      break;
    default:
      break;
  }
  const bool scaled =
      training.precision == Precision::kFp16 || training.precision == Precision::kAmpFp16;
  if (scaled && training.communication_hook &&
      training.communication_hook->kind == HookKind::kPowerSgd) {
    refusals.add(
        fmt::format("training.communication_hook powersgd with {}", name(training.precision)),
        "its errors would keep an overflow for ever; write bf16, amp-bf16 or fp32");
  }
  if (!training.local_updates) {
    return;
  }
  const LocalUpdatesKind kind = training.local_updates->kind;
  if (kind != LocalUpdatesKind::kLocalSgd) {
    refusals.add(fmt::format("training.local_updates.type {}",
                             kLocalUpdatesNames[static_cast<std::size_t>(kind)]),
                 "write local-sgd");
  }
  if (scaled) {
    refusals.add(fmt::format("training.local_updates with {}", name(training.precision)),
                 "each rank would need a loss scale of its own; write bf16, amp-bf16 or fp32");
  }
}

}  // namespace

std::vector<std::string> why_not_trainable(const Experiment& experiment) {
  const TrainingSpec& training = experiment.training;
  Refusals refusals(experiment.file.string());
  if (!experiment.jobs.empty()) {
    refusals.add("a file with jobs", "give one file a job");
  }
  add_splits(training, refusals);
  add_sharding(training, experiment.cluster.world_size(), refusals);
  add_compression(training, refusals);
  if (training.recompute == Recompute::kAttention) {
    refusals.add("training.recompute attention", "write block");
  }
  return refusals.take();
}

void require_trainable(const Experiment& experiment) {
  std::vector<std::string> reasons = why_not_trainable(experiment);
  if (!reasons.empty()) {
    throw UserError(std::move(reasons));
  }
}

}  // namespace vitsim
