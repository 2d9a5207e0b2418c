#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "models/experiment/training.h"
#include "trainer/device.h"
#include "trainer/optimizer.h"

namespace vitsim {

/// Makes the gradients of all ranks one, and keeps the weights of all ranks equal. Gradients arrive
/// weighted by samples, so their plain sum over ranks is the gradient of the joined batch.
class GradientReducer {
 public:
  GradientReducer() = default;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  virtual ~GradientReducer() = default;

  /// Around each micro-batch. `last`: its backward completes the step's gradients; before that they
  /// only accumulate.
  virtual void before_forward(bool last) { static_cast<void>(last); }

  virtual void before_backward(bool last) { static_cast<void>(last); }

  /// Where sums begin while backward still computes: when backward itself was done. Its AllReduces
  /// are then tracked one by one, and `reduce` has nothing left to do.
  [[nodiscard]] virtual std::optional<Mark> backward_done() const { return std::nullopt; }

  /// Waits until gradients are summed. Returns the bytes that this summed.
  virtual std::int64_t reduce() = 0;

  /// What this rank's optimizer updates; gradients are valid after `reduce`.
  [[nodiscard]] virtual std::vector<Slice> slices() = 0;

  /// After the update: brings the new weights to every rank's model. Returns the bytes gathered
  /// from all ranks, 0 where every rank updates everything.
  virtual std::int64_t publish() = 0;

  /// Sums a small tensor over the ranks that share the optimizer's state; nothing to do where each
  /// has all of it.
  virtual void sum_over_shards(at::Tensor& values) { static_cast<void>(values); }

  /// True where each rank updates, and keeps the optimizer's state of, its own part of the weights.
  [[nodiscard]] virtual bool sharded() const { return false; }

  /// Makes this rank's fp32 weights equal to the model's; after the model was loaded.
  virtual void adopt_model() = 0;
};

/// `parameters` of the model, already equal on all ranks. All arguments outlive the result.
struct ReducerContext {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  Device* device = nullptr;
  const std::vector<at::Tensor>* parameters = nullptr;
};

/// c10d's Reducer, as Python's DistributedDataParallel drives it.
std::unique_ptr<GradientReducer> make_ddp(const ReducerContext& context);

/// One rank: nothing to sum.
std::unique_ptr<GradientReducer> make_alone(const ReducerContext& context);

/// One flat AllReduce after backward, as DeepSpeed without ZeRO.
std::unique_ptr<GradientReducer> make_zero_0(const ReducerContext& context);

/// Sharded optimizer: reduce-scatter, update of an own shard, all-gather (ZeRO stage 1).
std::unique_ptr<GradientReducer> make_zero_1(const ReducerContext& context);

std::unique_ptr<GradientReducer> make_gradient_reducer(GradientSync kind,
                                                       const ReducerContext& context);

}  // namespace vitsim
