#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/experiment/training.h"

namespace vitsim {

/// What an optimizer updates: fp32 weights of one parameter, or a part of them where the
/// optimizer's state is sharded, and their gradient, of equal shape.
struct Slice {
  at::Tensor weight;
  at::Tensor gradient;
  std::size_t parameter = 0;  // which one, in the model's order
  std::int64_t offset = 0;    // of the first element within that parameter
};

/// Sums a vector over the ranks that share a parameter's slices, in place.
using SumOverShards = std::function<void(at::Tensor&)>;

/// Updates weights from gradients. Its state has one entry per slice; the slices must be the same,
/// in the same order, at every call.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  virtual void update(const std::vector<Slice>& slices, double lr) = 0;

  /// The state's tensors by name ("exp_avg", ...), each with one tensor per slice. Loading a
  /// checkpoint writes into them.
  struct State {
    std::string name;
    std::vector<at::Tensor> tensors;
  };

  [[nodiscard]] virtual std::vector<State> state() const = 0;

  /// Updates made so far, which Adam's bias correction counts.
  [[nodiscard]] virtual std::int64_t updates() const = 0;
  virtual void set_updates(std::int64_t updates) = 0;
};

/// AdamW (Loshchilov and Hutter, 2019) in torch's fused kernel; SGD with momentum as torch's; LAMB
/// (You et al., 2020) as DeepSpeed's default: bias-corrected, trust ratio within [0.01, 10].
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSpec& spec,
                                          const std::vector<Slice>& slices,
                                          std::size_t parameters,
                                          SumOverShards sum_over_shards);

}  // namespace vitsim
