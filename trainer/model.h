#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/precision.h"
#include "models/vit/vit.h"

namespace vitsim {

class BlockObserver;

/// The type of a model's weights: 16 bits where the whole model is in them, fp32 else.
at::ScalarType model_type(Precision precision);

/// The type of the inputs of its matrix products: that of the weights, or autocast's.
at::ScalarType product_type(Precision precision);

/// torchvision's VisionTransformer: the same tensors under the same names, the same arithmetic, and
/// from the same seed the same first values.
class VisionTransformer {
 public:
  /// Draws the parameters from `seed`, in fp32 on the CPU, as torchvision does after
  /// `torch.manual_seed(seed)`; they require gradients.
  VisionTransformer(const VitSpec& spec, std::uint64_t seed);

  /// images: n x channels x image_size x image_size, of the parameters' type and device.
  /// Returns logits: n x classes.
  [[nodiscard]] at::Tensor forward(const at::Tensor& images) const;

  /// In the order and under the names of `vitsim::parameters(spec())`.
  [[nodiscard]] const std::vector<at::Tensor>& parameters() const { return parameters_; }

  [[nodiscard]] const VitSpec& spec() const { return spec_; }

  /// Parameters of encoder block `layer`: `kBlockTensors` of them from this position on. Those
  /// before the first block and after the last are nobody's block.
  static constexpr std::size_t kBlockTensors = 12;

  [[nodiscard]] static std::size_t block_begin(std::int64_t layer) {
    return 4 + static_cast<std::size_t>(layer) * kBlockTensors;
  }

  /// Whether blocks are computed again in backward instead of keeping their activations.
  void set_recompute(bool recompute) { recompute_ = recompute; }

  /// Is told of each block's passes, and gets their gradients, wherever a gradient is computed.
  /// Must outlive the model's use; none: nullptr.
  void set_block_observer(BlockObserver* observer) { observer_ = observer; }

  /// Moves every parameter to `device` and `type`; call it before anything holds on to them.
  void convert(at::Device device, at::ScalarType type);

 private:
  [[nodiscard]] at::Tensor encoder_layer(const at::Tensor& input, std::int64_t layer) const;
  [[nodiscard]] at::Tensor observed_layer(const at::Tensor& input, std::int64_t layer) const;

  VitSpec spec_;
  std::vector<at::Tensor> parameters_;
  bool recompute_ = false;
  BlockObserver* observer_ = nullptr;
};

}  // namespace vitsim
