#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "models/units.h"
#include "models/vit/partition.h"
#include "models/vit/zero_3_gathers.h"
#include "sim/step/program.h"
#include "sim/step/replica.h"

namespace vitsim {

/// Compute of one micro-batch; `data_load` is what the compute stream waits for the loader.
struct MicroBatchSeconds {
  Seconds data_load;
  Seconds forward;
  Seconds backward;
};

/// What a rank reaches where state lives in the host's memory or on its disks.
struct OffloadRates {
  BytesPerSecond copy;           // between host and device, for this rank
  Seconds update_per_parameter;  // by the host, while all ranks of the node update
};

/// Compute of one class of ranks in a step: its micro-batches in order (none in a short last step
/// that has nothing left for it), then the update of all weights and what else a step takes.
struct ClassWork {
  std::vector<MicroBatchSeconds> micro_batches;
  Seconds optimizer;
  Seconds other;
  double slowdown = 1;          // of the GPU
  double overlap_slowdown = 1;  // a pass's factor while communication runs
  OffloadRates offload;         // where something is offloaded
  /// Its share of the state that ranks split; none: as much as any other.
  std::optional<double> shard;
  /// What it holds of the model; none: all of it.
  std::optional<ModelPart> part;
  /// What the ranks that hold the model together do for each other; none: a rank holds all of it.
  std::optional<ReplicaWork> replica;
};

/// Where ranks that hold the same weights shard them in several groups: the ranks of one group, and
/// those that hold the same shard.
struct HybridAxes {
  std::uint32_t shards = 0;
  std::uint32_t replicas = 1;
};

/// What every builder needs to know of a step.
struct StepInput {
  /// How a collective of so many bytes among these positions (none: everybody) is done.
  using Choice = std::function<Algorithm(
      CollectiveKind kind, std::int64_t bytes, std::span<const std::uint32_t> members)>;

  std::vector<ClassWork> classes;
  std::vector<std::uint32_t> class_of;  // by position
  std::vector<std::uint32_t> node_of;   // by position; empty: every rank has a node of its own
  Choice algorithm;                     // empty: a ring
  Tick collective_overhead = 0;
  /// Where the model is split: the program's axes, that of gradients first, and the algorithm of
  /// each call on them.
  std::vector<GroupAxis> axes;
  /// Of those the two of FSDP's hybrid shards, where the model is split besides.
  std::optional<HybridAxes> hybrid;
  std::function<Algorithm(std::uint32_t axis, CollectiveKind kind, std::int64_t bytes)>
      axis_algorithm;

  /// Ranks that sum their gradients: all of them, or those that hold the same part of the model.
  [[nodiscard]] std::int64_t world_size() const {
    return static_cast<std::int64_t>(axes.empty() ? class_of.size()
                                                  : axes.front().groups.front().size());
  }
};

/// Gradients that are reduced together, ready after this share of the last backward.
struct SyncBucket {
  std::int64_t bytes = 0;
  double ready_share = 1;
  /// Bytes of the AllReduces that carry it, one after another, where it is compressed.
  std::vector<std::int64_t> compressed;
};

/// State that lives with the host: the gradients of a rank's part go there, the host updates, the
/// new weights come back.
struct HostState {
  bool optimizer = false;
  bool parameters = false;
  std::int64_t elements = 0;          // of all ranks
  std::int64_t gradient_element = 4;  // bytes
  std::int64_t weight_element = 4;
};

/// What ranks that keep the optimizer's state of one part each send.
struct ShardPlan {
  std::vector<SyncBucket> gradients;
  std::vector<std::int64_t> parameters;  // bytes of the AllGathers behind the update
  std::vector<std::int64_t> scalars;     // bytes of small AllReduces before the update
  bool every_micro_batch = false;        // gradients are reduced behind each, not the last alone
  bool overlaps = false;                 // while backward goes on
  bool rooted = false;                   // each bucket by one Reduce for every rank's part
  HostState host;
};

/// An FSDP unit besides the root: an encoder block.
struct FsdpUnit {
  std::int64_t elements = 0;
  double begin = 0;  // of forward's work
  double end = 0;
};

struct FsdpPlan {
  std::int64_t root = 0;  // elements
  std::vector<FsdpUnit> blocks;
  std::int64_t gather_element = 4;  // bytes
  std::int64_t reduce_element = 4;
  bool reshards = true;
  std::int64_t shard_ranks = 0;  // 0: all
  std::vector<std::int64_t> scalars;
  HostState host;
};

/// ZeRO-3's step: its AllGathers in forward and backward, and the buckets of its ReduceScatters.
struct Zero3Plan {
  Zero3Gathers gathers;
  std::int64_t weight_element = 4;  // bytes
  std::vector<SyncBucket> gradients;
  bool overlaps = true;
  HostState host;
};

/// The builders: one way to train each, in a file of its name, as in trainer/step. They throw
/// UserError for buckets with negative sizes or shares that do not rise to 1. Buckets without bytes
/// make no collective; a single rank makes none at all.

/// One rank, or none to talk to: compute alone.
StepProgram alone_program(const StepInput& input);

/// Buckets are reduced while backward runs, one after another.
StepProgram ddp_program(const StepInput& input, std::span<const SyncBucket> buckets);

/// DeepSpeed's ZeRO-0: buckets are reduced after backward, one after another.
StepProgram zero_0_program(const StepInput& input, std::span<const SyncBucket> buckets);

/// DeepSpeed's ZeRO-1: all gradients are reduced everywhere after backward, each rank updates its
/// part, the parts are gathered.
StepProgram zero_1_program(const StepInput& input, const ShardPlan& plan);

/// DeepSpeed's ZeRO-2: gradients are reduced everywhere in every micro-batch, beside backward where
/// it overlaps; the rest as ZeRO-1.
StepProgram zero_2_program(const StepInput& input, const ShardPlan& plan);

/// DeepSpeed's ZeRO-3: weights are gathered before the modules that need them.
StepProgram zero_3_program(const StepInput& input, const Zero3Plan& plan);

/// Megatron's distributed optimizer: gradients are reduce-scattered after backward, every rank
/// updates its part, weights are gathered.
StepProgram distributed_optimizer_program(const StepInput& input,
                                          std::span<const SyncBucket> buckets);

/// Ranks of each group of hybrid shards, where `ranks` ranks hold the same weights and do not all
/// shard them together.
std::optional<std::int64_t> hybrid_shard_ranks(const TrainingSpec& training, std::int64_t ranks);

/// Adds the groups of hybrid shards among ranks in this order: shards lie among neighbours,
/// replicas across.
void add_hybrid_groups(std::span<const std::uint32_t> members,
                       std::int64_t shard_ranks,
                       GroupAxis& shards,
                       GroupAxis& replicas);

/// PyTorch's FSDP2, alone or on a mesh with tensor and sequence parallelism.
StepProgram fsdp_program(const StepInput& input, const FsdpPlan& plan);

/// DeepSpeed's 1-bit optimizers once they compress: momentum travels as signs and scales.
StepProgram one_bit_program(const StepInput& input, std::span<const std::int64_t> tensor_bytes);

/// Steps of ranks that train by themselves: without any communication, or, where there are bytes,
/// with an AllReduce of the weights (or of what they changed by) behind the update. `outer` is the
/// share of an update that the outer optimizer takes then.
StepProgram local_program(const StepInput& input, std::int64_t average_bytes, double outer);

/// CO2: gradients are reduced inside each node every step. The AllReduce of the weights takes
/// `every` steps beside them: each step carries its share of it, and waits where it is not over.
StepProgram co2_program(const StepInput& input,
                        std::span<const SyncBucket> buckets,
                        std::int64_t weight_bytes,
                        std::int64_t every);

/// Steps of a run that are not like most: of those from `from` up to `to`, each `every`-th.
struct RareSteps {
  StepProgram program;
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t every = 1;
};

/// The steps of a training. Where several kinds of rare steps claim a step the first one has it.
struct TrainingPrograms {
  StepProgram usual;
  std::vector<RareSteps> rare;
};

/// The programs of a training of `steps` steps: the builder of its way to train, with the buckets
/// that the library would make of the gradients of the part that a rank holds. Tensor, pipeline and
/// sequence parallelism and recomputation come with the classes' work and stack on any of them.
TrainingPrograms training_programs(const TrainingSpec& training,
                                   const StepInput& input,
                                   std::int64_t steps);

/// The program of most steps.
StepProgram build_program(const TrainingSpec& training, const StepInput& input);

/// Whether gradients are copied to flat buffers and back each step: DeepSpeed flattens them on one
/// GPU as well; a script without other ranks copies nothing.
bool copies_gradients(const TrainingSpec& training, std::size_t world_size);

/// DeepSpeed's flat reduction: a bucket for every 500 million elements (allreduce_bucket_size).
std::vector<SyncBucket> flat_buckets(std::int64_t elements, std::int64_t bytes_per_element);

}  // namespace vitsim
