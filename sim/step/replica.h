#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/parallelism.h"
#include "models/precision.h"
#include "models/units.h"
#include "models/vit/partition.h"
#include "sim/collective/algorithm.h"

namespace vitsim {

/// Communication within a replica of the model, while a pass computes: between the ranks that share
/// the matrices of its blocks, the tokens of its samples, or its layers.

/// Something that a pass does when the share `at` of its compute is done.
struct PassCall {
  enum class What : std::uint8_t {
    kCollective,  // compute waits for it
    kBeside,      // compute goes on beside it, up to the next `kWait`
    kRingStep,    // a message to the next rank of the group and one from the last, beside compute
    kWait,        // for what runs beside
  };

  double at = 0;
  What what = What::kCollective;
  CollectiveKind kind = CollectiveKind::kAllReduce;
  std::uint32_t axis = 0;
  double bytes_per_sample = 0;  // of the whole buffer, as nccl-tests counts
};

/// A stretch of blocks that a rank passes through at once: all of its blocks, or a chunk of an
/// interleaved pipeline.
struct ChunkWork {
  std::vector<Seconds> forward;  // by micro-batch
  std::vector<Seconds> backward;
  std::vector<PassCall> forward_calls;  // at rising shares
  std::vector<PassCall> backward_calls;
};

/// A pipeline as one of its stages sees it. Activations go to the next stage on one axis, gradients
/// back on another, so that neighbours that exchange both never mistake one for the other.
struct StageWork {
  std::int64_t stage = 0;
  std::int64_t stages = 1;
  PipelineSchedule schedule = PipelineSchedule::k1F1B;
  std::uint32_t forward_axis = 0;
  std::uint32_t backward_axis = 0;
  double bytes_per_sample = 0;  // of one message
};

struct ReplicaWork {
  std::vector<std::int64_t> samples;  // by micro-batch
  std::vector<ChunkWork> chunks;
  std::optional<StageWork> pipeline;
  bool loads_data = true;  // the ranks that hold the embedding do
  /// Token models whose embedding is on two stages sum its gradients: axis and bytes.
  std::optional<std::uint32_t> tied_axis;
  std::int64_t tied_bytes = 0;
};

/// One pass in the order in which a stage does them.
struct PipelinePass {
  bool is_forward = true;
  std::int64_t chunk = 0;
  std::int64_t micro_batch = 0;

  bool operator==(const PipelinePass&) const = default;
};

/// GPipe (Huang et al., 2019): all forward passes, then all backward. 1F1B (PipeDream-Flush,
/// Narayanan et al., 2021): as many forward passes ahead as there are stages behind, then one of
/// each in turn. Interleaved (Megatron-LM, Narayanan et al., SC 2021, 2.2): the same over virtual
/// stages, groups of `stages` micro-batches through one chunk after the other; micro-batches must
/// be a multiple of the stages there.
std::vector<PipelinePass> pipeline_order(PipelineSchedule schedule,
                                         std::int64_t stages,
                                         std::int64_t stage,
                                         std::int64_t chunks,
                                         std::int64_t micro_batches);

/// What each block of a part calls in a pass; shares are of the block.
struct BlockCalls {
  std::vector<PassCall> forward;
  std::vector<PassCall> backward;
};

/// Tensor parallelism (Shoeybi et al., 2019): an AllReduce of S b D elements behind attention and
/// one behind the MLP, forward and backward. With the norms' tokens split as well (Korthikanti et
/// al., 2022) an AllGather before and a ReduceScatter behind each, and in backward one more
/// AllGather beside the gradients of the weights.
BlockCalls tensor_calls(const ModelPart& part, Precision precision, std::uint32_t axis);

/// Ulysses (Jacobs et al., 2023): AllToAlls of query, key and value before attention and of its
/// output behind it, S/N b D elements on each of N ranks. Ring attention (Liu et al., 2023): keys
/// and values of S/N tokens go around in N - 1 steps beside attention, in backward twice as often.
BlockCalls sequence_calls(const ModelPart& part,
                          SequenceKind kind,
                          Precision precision,
                          std::uint32_t axis);

/// The calls of both, in the order in which a block comes to them.
BlockCalls joined(const BlockCalls& a, const BlockCalls& b);

/// Lays a block's calls out over a chunk's passes. A block that is recomputed repeats forward's in
/// the first third of its backward pass.
void place_calls(const ModelPart& part, const BlockCalls& calls, ChunkWork& chunk);

/// How a block's matrix products divide its time: query, key and value, the attention itself, its
/// output's product, the MLP.
struct BlockShares {
  double attention_begin = 0;
  double attention_end = 0;
  double mlp_begin = 0;

  explicit BlockShares(const ModelPart& part);
};

}  // namespace vitsim
