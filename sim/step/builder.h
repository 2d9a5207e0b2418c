#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/experiment/training.h"
#include "models/units.h"
#include "models/vit/partition.h"
#include "sim/step/program.h"
#include "sim/step/replica.h"

namespace vitsim {

/// Compute of one micro-batch; `data_load` is what the compute stream waits for the loader.
struct MicroBatchSeconds {
  Seconds data_load;
  Seconds forward;
  Seconds backward;
};

/// Compute of one class of ranks in a step: its micro-batches in order (none in a short last step
/// that has nothing left for it), then the update of all weights and what else a step takes.
struct ClassWork {
  std::vector<MicroBatchSeconds> micro_batches;
  Seconds optimizer;
  Seconds other;
  double slowdown = 1;          // of the GPU
  double overlap_slowdown = 1;  // backward's factor while communication runs
  /// What it holds of the model; none: all of it.
  std::optional<ModelPart> part;
  /// What the ranks that hold the model together do for each other; none: a rank holds all of it.
  std::optional<ReplicaWork> replica;
};

/// What every builder needs to know of a step.
struct StepInput {
  std::vector<ClassWork> classes;
  std::vector<std::uint32_t> class_of;                      // by position
  std::function<Algorithm(std::int64_t bytes)> all_reduce;  // empty: a ring
  Tick collective_overhead = 0;
  /// Where the model is split: the program's axes, that of gradients first, and the algorithm of
  /// each call on them.
  std::vector<GroupAxis> axes;
  std::function<Algorithm(std::uint32_t axis, CollectiveKind kind, std::int64_t bytes)> algorithm;

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

/// Gradients are reduce-scattered after backward, every rank updates its part, weights are
/// gathered.
StepProgram zero_1_program(const StepInput& input, std::span<const SyncBucket> buckets);

/// The program of a training: the builder of its gradient sync, with the buckets that the library
/// would make of the gradients of the part that a rank holds. Tensor, pipeline and sequence
/// parallelism and recomputation come with the classes' work and stack on any of them.
StepProgram build_program(const TrainingSpec& training, const StepInput& input);

/// Whether gradients are copied to flat buffers and back each step: DeepSpeed flattens them on one
/// GPU as well; a script without other ranks copies nothing.
bool copies_gradients(const TrainingSpec& training, std::size_t world_size);

/// DeepSpeed's flat reduction: a bucket for every 500 million elements (allreduce_bucket_size).
std::vector<SyncBucket> flat_buckets(std::int64_t elements, std::int64_t bytes_per_element);

}  // namespace vitsim
