// The Vision Transformer as torchvision writes it (Dosovitskiy et al., 2021): patches by a strided
// convolution, a class token in front, learned positions, pre-norm encoder layers, a final norm,
// and a linear head on the class token. No dropout, as torchvision's default.
//
// The parameters are a plain list in torchvision's order; a layer's twelve are found by position.
// Attention runs in the fused kernel that scaled_dot_product_attention chooses.
//
// First values: torchvision first lets every module draw its defaults and then draws some of them
// again. To get the same numbers from the same seed, the draws that are thrown away are made too.
#include "trainer/model.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "models/error.h"
#include "trainer/block_pass.h"

namespace vitsim {

namespace {

constexpr double kNormEpsilon = 1e-6;

// Positions within an encoder layer.
enum LayerTensor : std::size_t {
  kNorm1Weight,
  kNorm1Bias,
  kQkvWeight,
  kQkvBias,
  kProjectionWeight,
  kProjectionBias,
  kNorm2Weight,
  kNorm2Bias,
  kMlpUpWeight,
  kMlpUpBias,
  kMlpDownWeight,
  kMlpDownBias,
};

// torch.nn.init by name, on one generator.
class Initializer {
 public:
  explicit Initializer(std::uint64_t seed)
      : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

  void uniform(const at::Tensor& t, double bound) { t.uniform_(-bound, bound, generator_); }

  void normal(const at::Tensor& t, double deviation) { t.normal_(0, deviation, generator_); }

  // Linear's and Conv2d's reset_parameters: kaiming_uniform_(a = sqrt(5)) and a bias within
  // 1 / sqrt(fan_in).
  void module_default(const at::Tensor& weight, const at::Tensor& bias) {
    kaiming_uniform(weight);
    uniform(bias, 1 / std::sqrt(static_cast<double>(fan_in(weight))));
  }

  void kaiming_uniform(const at::Tensor& weight) {
    const double gain = std::sqrt(2.0 / (1 + std::pow(std::sqrt(5.0), 2)));
    const double deviation = gain / std::sqrt(static_cast<double>(fan_in(weight)));
    uniform(weight, std::sqrt(3.0) * deviation);
  }

  void xavier_uniform(const at::Tensor& weight) {
    const double deviation = std::sqrt(2.0 / static_cast<double>(weight.size(0) + weight.size(1)));
    uniform(weight, std::sqrt(3.0) * deviation);
  }

  // Normal within [-2, 2], by the inverse of its distribution function.
  void truncated_normal(const at::Tensor& t, double deviation) {
    const auto below = [&](double x) { return (1 + std::erf(x / deviation / std::sqrt(2.0))) / 2; };
    t.uniform_(2 * below(-2) - 1, 2 * below(2) - 1, generator_);
    t.erfinv_().mul_(deviation * std::sqrt(2.0)).clamp_(-2, 2);
  }

  static std::int64_t fan_in(const at::Tensor& weight) { return weight.numel() / weight.size(0); }

 private:
  at::Generator generator_;
};

}  // namespace

at::ScalarType model_type(Precision precision) {
  switch (precision) {
    case Precision::kFp16:
      return at::kHalf;
    case Precision::kBf16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

at::ScalarType product_type(Precision precision) {
  switch (precision) {
    case Precision::kAmpFp16:
      return at::kHalf;
    case Precision::kAmpBf16:
      return at::kBFloat16;
    default:
      return model_type(precision);
  }
}

VisionTransformer::VisionTransformer(const VitSpec& spec, std::uint64_t seed) : spec_(spec) {
  const at::NoGradGuard no_grad;
  for (const ParameterTensor& tensor : vitsim::parameters(spec)) {
    parameters_.push_back(at::empty(tensor.shape, at::kFloat));
  }
  const auto& p = parameters_;
  VITSIM_CHECK(p.size(), ==, block_begin(spec.layers) + 4);

  Initializer init(seed);
  init.module_default(p[1], p[2]);
  p[0].zero_();
  init.normal(p[3], 0.02);
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    const at::Tensor* t = &p[block_begin(layer)];
    t[kNorm1Weight].fill_(1);
    t[kNorm1Bias].zero_();
    init.module_default(t[kProjectionWeight], t[kProjectionBias]);
    init.xavier_uniform(t[kQkvWeight]);
    t[kQkvBias].zero_();
    t[kProjectionBias].zero_();
    t[kNorm2Weight].fill_(1);
    t[kNorm2Bias].zero_();
    init.module_default(t[kMlpUpWeight], t[kMlpUpBias]);
    init.module_default(t[kMlpDownWeight], t[kMlpDownBias]);
    init.xavier_uniform(t[kMlpUpWeight]);
    init.normal(t[kMlpUpBias], 1e-6);
    init.xavier_uniform(t[kMlpDownWeight]);
    init.normal(t[kMlpDownBias], 1e-6);
  }
  const at::Tensor* end = &p[p.size() - 4];
  end[0].fill_(1);
  end[1].zero_();
  init.module_default(end[2], end[3]);
  init.truncated_normal(p[1], std::sqrt(1.0 / static_cast<double>(Initializer::fan_in(p[1]))));
  p[2].zero_();
  end[2].zero_();
  end[3].zero_();

  for (const at::Tensor& parameter : parameters_) {
    parameter.set_requires_grad(true);
  }
}

void VisionTransformer::convert(at::Device device, at::ScalarType type) {
  const at::NoGradGuard no_grad;
  for (at::Tensor& parameter : parameters_) {
    parameter = parameter.detach().to(device, type).set_requires_grad(true);
  }
}

at::Tensor VisionTransformer::encoder_layer(const at::Tensor& input, std::int64_t layer) const {
  const at::Tensor* t = &parameters_[block_begin(layer)];
  const std::int64_t n = input.size(0);
  const std::int64_t tokens = input.size(1);
  const std::int64_t width = spec_.width;

  at::Tensor x = at::layer_norm(input, {width}, t[kNorm1Weight], t[kNorm1Bias], kNormEpsilon);
  // Query, key and value: n x heads x tokens x head width each. The backward pass of `unbind` is
  // one stack, which leaves the joined gradient as the product before it wants it; taken one by
  // one, each would be filled with zeros, copied and added at three times its size.
  const std::vector<at::Tensor> qkv = at::linear(x, t[kQkvWeight], t[kQkvBias])
                                          .view({n, tokens, 3, spec_.heads, spec_.head_width()})
                                          .unbind(2);
  x = at::scaled_dot_product_attention(
      qkv[0].transpose(1, 2), qkv[1].transpose(1, 2), qkv[2].transpose(1, 2));
  x = x.transpose(1, 2).reshape({n, tokens, width});
  x = at::linear(x, t[kProjectionWeight], t[kProjectionBias]) + input;

  at::Tensor y = at::layer_norm(x, {width}, t[kNorm2Weight], t[kNorm2Bias], kNormEpsilon);
  y = at::gelu(at::linear(y, t[kMlpUpWeight], t[kMlpUpBias]));
  return x + at::linear(y, t[kMlpDownWeight], t[kMlpDownBias]);
}

at::Tensor VisionTransformer::observed_layer(const at::Tensor& input, std::int64_t layer) const {
  const auto begin = parameters_.begin() + static_cast<std::ptrdiff_t>(block_begin(layer));
  return run_block(
      input,
      {.layer = layer,
       .parameters = {begin, begin + kBlockTensors},
       .compute = [this, layer](const at::Tensor& x) { return encoder_layer(x, layer); },
       .recompute = recompute_,
       .observer = observer_});
}

at::Tensor VisionTransformer::forward(const at::Tensor& images) const {
  const bool observed = at::GradMode::is_enabled() && (recompute_ || observer_ != nullptr);
  const auto& p = parameters_;
  const std::int64_t n = images.size(0);
  const std::int64_t width = spec_.width;

  at::Tensor x = at::conv2d(images, p[1], p[2], spec_.patch).flatten(2).transpose(1, 2);
  x = at::cat({p[0].expand({n, -1, -1}), x}, 1) + p[3];
  for (std::int64_t layer = 0; layer < spec_.layers; ++layer) {
    x = observed ? observed_layer(x, layer) : encoder_layer(x, layer);
  }
  const at::Tensor* end = &p[p.size() - 4];
  // The norm works on each token alone, so it is enough to take the class token's.
  x = at::layer_norm(x.select(1, 0), {width}, end[0], end[1], kNormEpsilon);
  return at::linear(x, end[2], end[3]);
}

}  // namespace vitsim
