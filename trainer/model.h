#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/precision.h"
#include "models/vit/vit.h"

namespace vitsim {

/// The type of a model's weights: 16 bits where the whole model is in them, fp32 else.
at::ScalarType model_type(Precision precision);

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

  /// Moves every parameter to `device` and `type`; call it before anything holds on to them.
  void convert(at::Device device, at::ScalarType type);

 private:
  [[nodiscard]] at::Tensor encoder_layer(const at::Tensor& input, std::int64_t layer) const;

  VitSpec spec_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace vitsim
