#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <torch/csrc/distributed/c10d/comm.hpp>

#include "trainer/step/gradient_reducer.h"

namespace vitsim {

/// What DDP's hooks need beside the bucket.
struct HookContext {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  Device* device = nullptr;
  const std::vector<at::Tensor>* parameters = nullptr;
  /// Called when the last bucket is ready, which is when backward itself is done.
  std::function<void()> backward_done;
  /// Waits for work amid backward.
  std::function<void(c10d::Work&)> wait;
};

/// A hook for c10d's Reducer that sums buckets over ranks, where the Reducer by itself would
/// average them: gradients are weighted by samples already.
class CommunicationHook : public c10d::CppCommHookInterface<HookContext> {
 public:
  using CppCommHookInterface::CppCommHookInterface;

  virtual void begin_step(std::int64_t step) { static_cast<void>(step); }

  /// As GradientReducer's.
  [[nodiscard]] virtual std::vector<NamedTensor> own_state() { return {}; }

 protected:
  /// Launches the sum of a tensor, tracked.
  c10::intrusive_ptr<c10d::Work> launch_sum(const at::Tensor& tensor);
};

/// Sums as they are, in 16 bits, or by PowerSGD; none: as they are.
std::unique_ptr<CommunicationHook> make_communication_hook(const std::optional<HookSpec>& spec,
                                                           HookContext context);

/// PowerSGD (power_sgd.cpp).
std::unique_ptr<CommunicationHook> make_power_sgd_hook(const HookSpec& spec, HookContext context);

}  // namespace vitsim
