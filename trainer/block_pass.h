#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vitsim {

/// Is told when an encoder block is about to use its weights, and when it has done so.
class BlockObserver {
 public:
  BlockObserver() = default;
  BlockObserver(const BlockObserver&) = delete;
  BlockObserver& operator=(const BlockObserver&) = delete;
  virtual ~BlockObserver() = default;

  virtual void before_block_forward(std::int64_t layer) = 0;
  virtual void after_block_forward(std::int64_t layer) = 0;
  virtual void before_block_backward(std::int64_t layer) = 0;

  /// `gradients` of the block's parameters, in the model's order. They go nowhere else.
  virtual void after_block_backward(std::int64_t layer, std::vector<at::Tensor> gradients) = 0;
};

/// An encoder block of the model as one step of forward and backward.
struct BlockPass {
  std::int64_t layer = 0;
  std::vector<at::Tensor> parameters;
  std::function<at::Tensor(const at::Tensor& input)> compute;
  /// Forward keeps nothing but the block's input; backward computes the block again.
  bool recompute = false;
  BlockObserver* observer = nullptr;
};

/// The block's output. Backward through it gives the input's gradient, and those of the parameters
/// to the observer, or to the parameters where there is none.
at::Tensor run_block(const at::Tensor& input, BlockPass pass);

}  // namespace vitsim
