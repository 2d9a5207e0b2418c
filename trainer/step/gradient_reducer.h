#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "models/experiment/training.h"
#include "models/phase.h"
#include "trainer/device.h"
#include "trainer/model.h"
#include "trainer/optimizer.h"
#include "trainer/tensor_file.h"

namespace vitsim {

/// What one rank does in a step.
struct StepShare {
  std::int64_t step = 0;     // steps of the run before this one
  std::int64_t samples = 0;  // of this rank
  std::int64_t joined = 0;   // of all ranks
};

/// Makes the gradients of all ranks one, and keeps the weights of all ranks equal. Gradients arrive
/// weighted by samples, so their plain sum over ranks is the gradient of the joined batch.
class GradientReducer {
 public:
  GradientReducer() = default;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  virtual ~GradientReducer() = default;

  virtual void begin_step(const StepShare& share) { static_cast<void>(share); }

  /// Around each micro-batch. `last`: its backward completes the step's gradients; before that they
  /// only accumulate.
  virtual void before_forward(bool last) { static_cast<void>(last); }

  virtual void before_backward(bool last) { static_cast<void>(last); }

  /// Belongs to backward's own work.
  virtual void after_backward(bool last) { static_cast<void>(last); }

  /// Where sums begin while backward still computes: when backward itself was done. Its AllReduces
  /// are then tracked one by one, and `reduce` has nothing left to do.
  [[nodiscard]] virtual std::optional<Mark> backward_done() const { return std::nullopt; }

  /// True where collectives run beside forward and backward and are tracked one by one: `reduce`
  /// then only waits for them.
  [[nodiscard]] virtual bool tracks_collectives() const { return false; }

  /// True where every micro-batch ends with sums over ranks. All ranks must then make equally many.
  [[nodiscard]] virtual bool reduces_every_micro_batch() const { return false; }

  /// Waits until gradients are summed. Returns the bytes that this summed.
  virtual std::int64_t reduce() = 0;

  /// What this rank's optimizer updates; gradients are valid after `reduce`.
  [[nodiscard]] virtual std::vector<Slice> slices() = 0;

  /// After the update: brings the new weights to every rank's model. Returns the bytes that ranks
  /// exchanged for it.
  virtual std::int64_t publish() = 0;

  /// The phase in which `publish` communicates after this step; none where it only copies.
  [[nodiscard]] virtual std::optional<Phase> publish_phase() const { return std::nullopt; }

  /// Sums a small tensor over the ranks that share the optimizer's state; nothing to do where each
  /// has all of it.
  virtual void sum_over_shards(at::Tensor& values) { static_cast<void>(values); }

  /// True where each rank updates, and keeps the optimizer's state of, its own part of the weights.
  [[nodiscard]] virtual bool sharded() const { return false; }

  /// True where a rank trains by itself between averages of the weights: its gradient is that of
  /// its own samples, and its optimizer's state is like no other's.
  [[nodiscard]] virtual bool trains_alone() const { return false; }

  /// Makes this rank's fp32 weights equal to the model's; after the model was loaded.
  virtual void adopt_model() = 0;

  /// Between these two the model holds all weights, where steps need less than that. Collective.
  virtual void gather_model() {}

  virtual void release_model() {}

  /// What this rank alone knows and training needs to go on, beside weights and optimizer state. A
  /// checkpoint holds it for each rank; loading one writes into the tensors.
  [[nodiscard]] virtual std::vector<NamedTensor> own_state() { return {}; }

  /// At the end of a run: the weights of all ranks become equal. Collective.
  virtual void finish() {}

  /// When the compute stream has waited for collectives since the last call.
  std::vector<Pause> take_pauses() { return std::exchange(pauses_, {}); }

 protected:
  /// Waits for `work` amid forward or backward.
  void wait_within_pass(Device& device, c10d::Work& work);

 private:
  std::vector<Pause> pauses_;
};

/// The model has all weights while this lives.
class WholeModel {
 public:
  explicit WholeModel(GradientReducer& reducer) : reducer_(reducer) { reducer_.gather_model(); }

  WholeModel(const WholeModel&) = delete;
  WholeModel& operator=(const WholeModel&) = delete;

  ~WholeModel() { reducer_.release_model(); }

 private:
  GradientReducer& reducer_;
};

/// The model's parameters are already equal on all ranks. All arguments outlive the result.
struct ReducerContext {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  Device* device = nullptr;
  VisionTransformer* model = nullptr;
  const TrainingSpec* training = nullptr;

  [[nodiscard]] const std::vector<at::Tensor>& parameters() const { return model->parameters(); }
};

/// c10d's Reducer, as Python's DistributedDataParallel drives it, with its communication hooks.
std::unique_ptr<GradientReducer> make_ddp(const ReducerContext& context);

/// One rank: nothing to sum.
std::unique_ptr<GradientReducer> make_alone(const ReducerContext& context);

/// Ranks train by themselves and average their weights every so many steps.
std::unique_ptr<GradientReducer> make_local_sgd(const ReducerContext& context);

/// One flat AllReduce after backward, as DeepSpeed without ZeRO.
std::unique_ptr<GradientReducer> make_zero_0(const ReducerContext& context);

/// AllReduce of all gradients, update of an own shard, AllGather (DeepSpeed's ZeRO stage 1).
std::unique_ptr<GradientReducer> make_zero_1(const ReducerContext& context);

/// As stage 1, but gradients are summed after every micro-batch and only a shard of them is kept.
std::unique_ptr<GradientReducer> make_zero_2(const ReducerContext& context);

/// ReduceScatter of gradients, update of an own shard, AllGather (Megatron's).
std::unique_ptr<GradientReducer> make_distributed_optimizer(const ReducerContext& context);

/// Weights, gradients and optimizer state sharded, gathered block by block (PyTorch's FSDP2).
std::unique_ptr<GradientReducer> make_fsdp(const ReducerContext& context);

/// What `context.training` asks for.
std::unique_ptr<GradientReducer> make_gradient_reducer(const ReducerContext& context);

}  // namespace vitsim
