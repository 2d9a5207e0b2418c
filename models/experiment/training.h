#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/experiment/parallelism.h"
#include "models/precision.h"
#include "models/units.h"
#include "models/vit/vit.h"

namespace vitsim {

/// What keeps the weights of data-parallel ranks equal. The ZeRO stages are DeepSpeed's: stage 1
/// reduces all gradients everywhere, updates a part and gathers. `distributed-optimizer` is
/// Megatron's: gradients are reduce-scattered, then parts are updated and gathered.
enum class GradientSync {
  kDdp,
  kDeepspeedZero0,
  kDeepspeedZero1,
  kDeepspeedZero2,
  kDeepspeedZero3,
  kFsdp,
  kDistributedOptimizer,
};
inline constexpr std::array<std::string_view, 7> kGradientSyncNames = {"ddp",
                                                                       "deepspeed-zero-0",
                                                                       "deepspeed-zero-1",
                                                                       "deepspeed-zero-2",
                                                                       "deepspeed-zero-3",
                                                                       "fsdp",
                                                                       "distributed-optimizer"};

/// How AllReduce is done. `auto` chooses as NCCL does between GPUs, and is a ring between CPUs;
/// `nccl` and `open-mpi` choose by size and world size as those libraries do.
enum class AllReduceAlgorithm {
  kAuto,
  kRing,
  kTree,
  kHalvingDoubling,
  kHierarchical,
  kNccl,
  kOpenMpi,
  kNvls,
  kNvlsTree,
  kCollNet,
  kPat,
};
inline constexpr std::array<std::string_view, 11> kAllReduceNames = {"auto",
                                                                     "ring",
                                                                     "tree",
                                                                     "halving-doubling",
                                                                     "hierarchical",
                                                                     "nccl",
                                                                     "open-mpi",
                                                                     "nvls",
                                                                     "nvls-tree",
                                                                     "collnet",
                                                                     "pat"};

enum class OptimizerKind { kAdamW, kSgd, kLamb, kOneBitAdam, kOneBitLamb, kZeroOneAdam };
inline constexpr std::array<std::string_view, 6> kOptimizerNames = {
    "adamw", "sgd", "lamb", "onebit-adam", "onebit-lamb", "zero-one-adam"};

constexpr std::string_view name(GradientSync sync) {
  return kGradientSyncNames[static_cast<std::size_t>(sync)];
}

constexpr std::string_view name(AllReduceAlgorithm algorithm) {
  return kAllReduceNames[static_cast<std::size_t>(algorithm)];
}

constexpr std::string_view name(OptimizerKind kind) {
  return kOptimizerNames[static_cast<std::size_t>(kind)];
}

struct DatasetSpec {
  std::string name;          // cifar10, cifar100, image-folder, synthetic, or any word
  std::int64_t samples = 0;  // known for cifar10 and cifar100: 50,000; 0: training counts the files
  double fraction = 1;       // of the samples, per epoch
  std::optional<std::filesystem::path> path;
  std::string where;  // "lab.json:9: /training/dataset", for messages; may be empty
};

struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double lr = 1e-4;
  double weight_decay = 0.01;
  double momentum = 0.9;                       // sgd
  std::array<double, 2> betas = {0.9, 0.999};  // adamw, lamb
  double eps = 1e-8;
  std::int64_t freeze_step = 100'000;  // onebit-*, zero-one-adam: compressed from here on
};

enum class ScheduleKind { kConstant, kCosine, kLinear };
inline constexpr std::array<std::string_view, 3> kScheduleNames = {"constant", "cosine", "linear"};

/// Learning rate over steps: linear warm-up from `warmup_start` x lr, then constant, or cosine or
/// linear decay to `final_fraction` x lr at `total_steps` (the whole run where not given).
struct ScheduleSpec {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::int64_t warmup_steps = 0;
  double warmup_start = 0;
  bool warmup_log = false;  // DeepSpeed's WarmupLR rises with log(step) unless told "linear"
  double final_fraction = 0;
  std::optional<std::int64_t> total_steps;

  bool operator==(const ScheduleSpec&) const = default;
};

struct AugmentSpec {
  bool flip = false;
  bool crop = false;  // random crop, padded by an eighth of the image
};

struct CheckpointSpec {
  std::int64_t every = 0;             // steps; 0: only at the end of each epoch
  std::optional<Seconds> every_time;  // of training, in place of steps
  bool is_automatic = false;          // in place of both: the interval that loses least
  std::optional<std::filesystem::path> path;
  std::optional<Seconds> cost;              // what the predictor charges for one, else by its bytes
  std::optional<BytesPerSecond> bandwidth;  // at which the storage takes them
  bool is_asynchronous = false;             // training goes on while one is written
  std::string where;  // "lab.json:20: /training/checkpoint", for messages; may be empty
};

/// How images are loaded beside the training.
struct LoaderSpec {
  std::int64_t workers = 2;  // threads that read and decode, per rank
  bool pinned = true;        // host memory from which a GPU copies without waiting

  bool operator==(const LoaderSpec&) const = default;
};

/// Dynamic loss scaling by DeepSpeed's rules (fp16 section of its configuration).
struct LossScaleSpec {
  double fixed = 0;  // 0: dynamic
  int initial_power = 16;
  std::int64_t window = 1000;
  int hysteresis = 2;
  bool consecutive_hysteresis = false;
  double minimum = 1;
};

/// One training job.
struct TrainingSpec {
  VitSpec model;
  DatasetSpec dataset;
  std::vector<std::int64_t> micro_batch;  // one number for all ranks, or one per rank
  std::int64_t accumulation = 1;
  std::int64_t epochs = 1;
  Precision precision = Precision::kFp32;
  OptimizerSpec optimizer;
  std::optional<ScheduleSpec> schedule;
  std::optional<double> clip_norm;
  double label_smoothing = 0;
  std::uint64_t seed = 1;
  AugmentSpec augment;
  bool evaluate = false;
  std::optional<CheckpointSpec> checkpoint;
  LoaderSpec loader;
  LossScaleSpec loss_scale;
  GradientSync gradient_sync = GradientSync::kDdp;
  ZeroSpec zero;
  FsdpSpec fsdp;
  ParallelismSpec parallelism;
  Recompute recompute = Recompute::kNone;
  OffloadSpec offload;
  std::optional<HookSpec> communication_hook;
  std::optional<LocalUpdatesSpec> local_updates;
  AllReduceAlgorithm all_reduce = AllReduceAlgorithm::kAuto;
  std::optional<std::filesystem::path> deepspeed_config;
};

}  // namespace vitsim
