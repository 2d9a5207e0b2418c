// The cost graph of a Vision Transformer, per image.
//
// With S tokens of width D, H heads, MLP width M, patch p and C channels, an encoder layer is
//   ln_1, qkv (S x D x 3D), attention (2 S^2 D), out_proj (S x D x D), add,
//   ln_2, fc1 (S x D x M), gelu (S x M), fc2 (S x M x D), add
// where A x B x C is a matrix product of A*B*C multiply-accumulates. Bytes are those that must
// cross the memory once: inputs, outputs and weights; caches are neglected. What is saved for
// backward is what PyTorch's autograd keeps: the inputs of products, norms and GELU, and the
// attention's inputs, output and log-sum-exp (fused) or its S x S probabilities (unfused).
#include "models/vit/cost_graph.h"

#include <algorithm>

namespace vitsim {

std::string_view name(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kGemm:
      return "gemm";
    case OperatorKind::kAttention:
      return "attention";
    case OperatorKind::kLayerNorm:
      return "layer_norm";
    case OperatorKind::kGelu:
      return "gelu";
    case OperatorKind::kElementwise:
      return "elementwise";
  }
  return "";
}

std::vector<Operator> forward_operators(const VitSpec& vit,
                                        Precision precision,
                                        AttentionKernel attention) {
  const double element = arithmetic_bytes(precision).value();
  // Autocast keeps norms, residuals and the loss in fp32.
  const bool autocast = precision == Precision::kAmpFp16 || precision == Precision::kAmpBf16;
  const double wide = autocast ? 4.0 : element;

  const auto s = static_cast<double>(vit.tokens());
  const auto d = static_cast<double>(vit.width);
  const auto m = static_cast<double>(vit.mlp);
  const auto h = static_cast<double>(vit.heads);
  const auto classes = static_cast<double>(vit.classes);
  const double patch_inputs =
      static_cast<double>(vit.channels) * static_cast<double>(vit.patch * vit.patch);

  const auto product = [&](std::string_view label,
                           std::int64_t count,
                           double rows,
                           double inner,
                           double outer,
                           double saved_elements) {
    return Operator{.name = label,
                    .kind = OperatorKind::kGemm,
                    .count = count,
                    .flops = Flops(2 * rows * inner * outer),
                    .activation_bytes = Bytes(element * rows * (inner + outer)),
                    .parameter_bytes = Bytes(element * (inner * outer + outer)),
                    .saved_bytes = Bytes(element * saved_elements),
                    .inner_width = static_cast<std::int64_t>(std::min(inner, outer))};
  };
  const auto pointwise = [&](std::string_view label,
                             OperatorKind kind,
                             std::int64_t count,
                             double elements,
                             double flops_each,
                             double bytes_each,
                             double saved_each,
                             double parameters) {
    return Operator{.name = label,
                    .kind = kind,
                    .count = count,
                    .flops = Flops(flops_each * elements),
                    .activation_bytes = Bytes(bytes_each * elements),
                    .parameter_bytes = Bytes(wide * parameters),
                    .saved_bytes = Bytes(saved_each * elements),
                    .inner_width = 0};
  };

  const bool fused = attention == AttentionKernel::kFused;
  const double probabilities = h * s * s;
  std::vector<Operator> operators;
  operators.push_back(
      product("patch_embedding", 1, s - 1, patch_inputs, d, (s - 1) * patch_inputs));
  operators.push_back(
      pointwise("positions", OperatorKind::kElementwise, 1, s * d, 1, 3 * wide, 0, s * d));
  operators.push_back(
      pointwise("ln_1", OperatorKind::kLayerNorm, vit.layers, s * d, 8, 2 * wide, wide, 2 * d));
  operators.push_back(product("qkv", vit.layers, s, d, 3 * d, s * d));
  operators.push_back(
      {.name = "attention",
       .kind = OperatorKind::kAttention,
       .count = vit.layers,
       .flops = Flops(4 * s * s * d),
       .activation_bytes = Bytes(element * (4 * s * d + (fused ? 0 : 6 * probabilities))),
       .parameter_bytes = Bytes(0),
       .saved_bytes =
           Bytes(element * (4 * s * d + (fused ? 0 : probabilities)) + (fused ? 4 * h * s : 0)),
       .inner_width = vit.head_width()});
  operators.push_back(product("out_proj", vit.layers, s, d, d, 0));
  operators.push_back(
      pointwise("add", OperatorKind::kElementwise, 2 * vit.layers, s * d, 1, 3 * wide, 0, 0));
  operators.push_back(
      pointwise("ln_2", OperatorKind::kLayerNorm, vit.layers, s * d, 8, 2 * wide, wide, 2 * d));
  operators.push_back(product("fc1", vit.layers, s, d, m, s * d));
  operators.push_back(
      pointwise("gelu", OperatorKind::kGelu, vit.layers, s * m, 10, 2 * element, element, 0));
  operators.push_back(product("fc2", vit.layers, s, m, d, s * m));
  operators.push_back(
      pointwise("ln", OperatorKind::kLayerNorm, 1, s * d, 8, 2 * wide, wide, 2 * d));
  operators.push_back(product("head", 1, 1, d, classes, d));
  return operators;
}

Flops forward_flops(const VitSpec& vit) {
  Flops total;
  for (const Operator& op : forward_operators(vit, Precision::kFp32)) {
    if (op.kind == OperatorKind::kGemm || op.kind == OperatorKind::kAttention) {
      total += static_cast<double>(op.count) * op.flops;
    }
  }
  return total;
}

Bytes activation_bytes_per_sample(const VitSpec& vit,
                                  Precision precision,
                                  AttentionKernel attention) {
  Bytes total;
  for (const Operator& op : forward_operators(vit, precision, attention)) {
    total += static_cast<double>(op.count) * op.saved_bytes;
  }
  return total;
}

}  // namespace vitsim
