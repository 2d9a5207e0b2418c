// The cost graph of a Vision Transformer, per image.
//
// With S tokens of width D, H heads, MLP width M, patch p and C channels, an encoder layer is
//   ln_1, qkv (S x D x 3D), attention (2 S^2 D), out_proj (S x D x D), add_1,
//   ln_2, fc1 (S x D x M), gelu (S x M), fc2 (S x M x D), add_2
// where A x B x C is a matrix product of A*B*C multiply-accumulates. Bytes are those that must
// cross the memory once: inputs, outputs and weights; caches are neglected. What is saved for
// backward is what PyTorch's autograd keeps: the inputs of products, norms and GELU, and the
// attention's inputs, output and log-sum-exp (fused) or its S x S probabilities (unfused).
//
// Autocast casts weights and the inputs of products before each product, and gradients back after
// it. With t tensor-parallel ranks (Shoeybi et al., Megatron-LM, 2019) qkv and fc1 are split by
// columns, out_proj and fc2 by rows, attention by heads. Which kernels PyTorch launches in each
// pass was read from its profiler on an H100: 918 in a step of vit-b-16 in bf16, of which the casts
// to and from master weights belong to the update.
#include "models/vit/cost_graph.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace vitsim {

namespace {

// Tensor cores work on tiles of so many rows and columns: what does not fill one costs the whole.
constexpr std::int64_t kTile = 128;

double padded(double width) {
  return std::ceil(width / static_cast<double>(kTile)) * static_cast<double>(kTile);
}

// Sizes that the operators of one model and precision have in common. `element` is what products
// and activations take, `wide` what norms and residuals do: autocast keeps those in fp32.
struct Sizes {
  double element, wide;
  bool autocast;
  double tokens, norm_tokens, keys;  // of this rank's products and norms; that a query sees
  double width, shards, mlp, heads, head_rows, head_outputs, patch_inputs;

  Sizes(const ModelPart& part, Precision precision)
      : element(arithmetic_bytes(precision).value()),
        wide(is_autocast(precision) ? 4.0 : element),
        autocast(is_autocast(precision)),
        tokens(static_cast<double>(part.tokens())),
        norm_tokens(static_cast<double>(part.norm_tokens())),
        keys(static_cast<double>(part.padded_tokens())),
        width(static_cast<double>(part.model.width)),
        shards(static_cast<double>(part.tensor)),
        mlp(static_cast<double>(part.model.mlp) / shards),
        heads(static_cast<double>(part.model.heads) / shards),
        head_rows(part.model.is_token_model() ? tokens : 1),
        head_outputs(part.model.is_token_model()
                         ? std::ceil(static_cast<double>(part.model.vocabulary) / shards)
                         : static_cast<double>(part.model.classes)),
        patch_inputs(
            static_cast<double>(part.model.channels * part.model.patch * part.model.patch)) {}

  /// Elements of the stream that norms and residuals work on.
  [[nodiscard]] double hidden() const { return norm_tokens * width; }

  /// Elements of query, key, value or attention's output on this rank.
  [[nodiscard]] double sharded() const { return tokens * width / shards; }

  [[nodiscard]] double probabilities() const { return heads * tokens * keys; }
};

Operator forward_product(const Sizes& sizes,
                         std::string_view label,
                         std::int64_t count,
                         double rows,
                         double inner,
                         double outer,
                         double saved_elements) {
  return {.name = label,
          .kind = OperatorKind::kGemm,
          .count = count,
          .flops = Flops(2 * rows * inner * outer),
          .activation_bytes = Bytes(sizes.element * rows * (inner + outer)),
          .parameter_bytes = Bytes(sizes.element * (inner * outer + outer)),
          .saved_bytes = Bytes(sizes.element * saved_elements),
          .inner_width = static_cast<std::int64_t>(std::min(inner, outer)),
          .padding = padded(outer) / outer};
}

// `elements` of a kind that moves `bytes_each` of them; `handled` times they pass through its
// arithmetic, 0 where that never shows.
Operator streaming(std::string_view label,
                   OperatorKind kind,
                   std::int64_t count,
                   double elements,
                   double bytes_each,
                   double handled = 0) {
  return {.name = label,
          .kind = kind,
          .count = count,
          .flops = Flops(0),
          .activation_bytes = Bytes(bytes_each * elements),
          .parameter_bytes = Bytes(0),
          .saved_bytes = Bytes(0),
          .inner_width = 0,
          .elements = handled * elements};
}

Operator layer_norm(const Sizes& sizes, std::string_view label, std::int64_t count) {
  Operator norm =
      streaming(label, OperatorKind::kLayerNorm, count, sizes.hidden(), 2 * sizes.wide, 1);
  norm.flops = Flops(8 * sizes.hidden());
  norm.parameter_bytes = Bytes(2 * sizes.wide * sizes.width);
  norm.saved_bytes = Bytes(sizes.wide * sizes.hidden());
  return norm;
}

// Weights and biases of one product cast to the short type, or their gradients back: 4 bytes on one
// side, 2 on the other.
Operator parameter_casts(std::string_view label, std::int64_t count, double inner, double outer) {
  Operator cast = streaming(label, OperatorKind::kCast, count, 0, 0);
  cast.parameter_bytes = Bytes(6 * (inner * outer + outer));
  cast.launches = 2;
  return cast;
}

Operator convolution(const Sizes& sizes, std::string_view label) {
  Operator one =
      forward_product(sizes, label, 1, sizes.tokens - 1, sizes.patch_inputs, sizes.width, 0);
  one.kind = OperatorKind::kConvolution;
  one.saved_bytes = Bytes(sizes.element * (sizes.tokens - 1) * sizes.patch_inputs);
  one.launches = 3;
  one.padding = 1;
  return one;
}

// Flash attention works on whole tiles of queries and keys; where queries see no later key, on half
// of them.
Operator fused_attention(const Sizes& sizes, const ModelPart& part, double products) {
  const double tiles = padded(sizes.keys) / sizes.keys;
  const double seen = part.model.causal ? 0.5 : 1;
  return {.name = "attention",
          .kind = OperatorKind::kAttention,
          .count = part.block_count(),
          .flops = Flops(2 * products * seen * sizes.keys * sizes.sharded()),
          .activation_bytes = Bytes(0),
          .parameter_bytes = Bytes(0),
          .saved_bytes = Bytes(0),
          .inner_width = part.model.head_width(),
          .padding = tiles * tiles};
}

// A product of every head's S x S matrix with a S x (width of a head) one. Masked entries are
// multiplied as well.
Operator unfused_product(const Sizes& sizes, const ModelPart& part, std::string_view label) {
  return {.name = label,
          .kind = OperatorKind::kGemm,
          .count = part.block_count(),
          .flops = Flops(2 * sizes.keys * sizes.sharded()),
          .activation_bytes = Bytes(sizes.element * (2 * sizes.sharded() + sizes.probabilities())),
          .parameter_bytes = Bytes(0),
          .saved_bytes = Bytes(0),
          .inner_width = part.model.width / part.tensor};
}

// The rows of the embedding that a sample's tokens need, or their gradients added to it.
Operator embedding_rows(const Sizes& sizes) {
  return streaming("embedding", OperatorKind::kCopy, 1, sizes.hidden(), 2 * sizes.element, 1);
}

// Softmax and its loss over the vocabulary, in fp32: read, normalised, written.
Operator vocabulary_loss(const Sizes& sizes) {
  return streaming(
      "loss", OperatorKind::kSoftmax, 1, sizes.head_rows * sizes.head_outputs, sizes.element + 8);
}

struct Product {
  std::string_view name;
  double rows, inner, outer;
};

}  // namespace

std::string_view name(OperatorKind kind) {
  static constexpr std::array<std::string_view, 14> kNames = {"gemm",
                                                              "convolution",
                                                              "attention",
                                                              "softmax",
                                                              "layer_norm",
                                                              "layer_norm_backward",
                                                              "layer_norm_parameters",
                                                              "gelu",
                                                              "gelu_backward",
                                                              "add",
                                                              "copy",
                                                              "cast",
                                                              "fill",
                                                              "reduce"};
  return kNames[static_cast<std::size_t>(kind)];
}

namespace {

// The operators of attention itself: what is recomputed where attention is not kept.
void add_attention(const ModelPart& part,
                   const Sizes& sizes,
                   AttentionKernel attention,
                   std::vector<Operator>& operators) {
  const std::int64_t layers = part.block_count();
  const double sharded = sizes.sharded();
  if (attention == AttentionKernel::kFused) {
    Operator one = fused_attention(sizes, part, 2);
    one.activation_bytes = Bytes(sizes.element * 4 * sharded);
    one.saved_bytes = Bytes(sizes.element * 4 * sharded + 4 * sizes.heads * sizes.tokens);
    operators.push_back(one);
    return;
  }
  operators.push_back(
      streaming("head_copies", OperatorKind::kCopy, layers, 4 * sharded, 2 * sizes.element, 1));
  operators.back().launches = 2;
  operators.push_back(unfused_product(sizes, part, "scores"));
  operators.back().saved_bytes = Bytes(sizes.element * 2 * sharded);
  // Scaled, cast to fp32, normalised, cast back.
  operators.push_back(streaming("softmax",
                                OperatorKind::kSoftmax,
                                layers,
                                sizes.probabilities(),
                                sizes.autocast ? 18 : 4 * sizes.element));
  operators.back().saved_bytes = Bytes(sizes.element * sizes.probabilities());
  operators.back().launches = 3;
  operators.push_back(unfused_product(sizes, part, "values"));
  operators.back().saved_bytes = Bytes(sizes.element * 2 * sharded);
}

}  // namespace

std::vector<Operator> forward_operators(const ModelPart& part,
                                        Precision precision,
                                        AttentionKernel attention) {
  const Sizes sizes(part, precision);
  const double s = sizes.tokens;
  const double d = sizes.width;
  const double m = sizes.mlp;
  const double shard = d / sizes.shards;
  const double hidden = sizes.hidden();
  const std::int64_t layers = part.block_count();

  std::vector<Operator> operators;
  if (part.attention_alone) {
    add_attention(part, sizes, attention, operators);
    return operators;
  }
  const auto product = [&](std::string_view label,
                           std::int64_t count,
                           double rows,
                           double inner,
                           double outer,
                           double saved_elements) {
    if (sizes.autocast) {
      operators.push_back(parameter_casts("weight_cast", count, inner, outer));
    }
    operators.push_back(forward_product(sizes, label, count, rows, inner, outer, saved_elements));
  };
  const auto cast_input = [&] {
    if (sizes.autocast) {
      operators.push_back(
          streaming("input_cast", OperatorKind::kCast, layers, hidden, 4 + sizes.element));
    }
  };
  const auto residual = [&](std::string_view label) {
    operators.push_back(
        streaming(label, OperatorKind::kAdd, layers, hidden, sizes.element + 2 * sizes.wide));
  };

  if (part.embedding) {
    if (part.model.is_token_model()) {
      operators.push_back(embedding_rows(sizes));
    } else {
      if (sizes.autocast) {
        operators.push_back(parameter_casts("weight_cast", 1, sizes.patch_inputs, d));
      }
      operators.push_back(convolution(sizes, "patch_embedding"));
      operators.push_back(
          streaming("class_token", OperatorKind::kCopy, 1, hidden, 2 * sizes.element, 1));
    }
    operators.push_back(streaming("positions", OperatorKind::kAdd, 1, hidden, 3 * sizes.wide));
    operators.back().parameter_bytes = Bytes(sizes.wide * hidden);
  }
  if (layers > 0) {
    operators.push_back(layer_norm(sizes, "ln_1", layers));
    cast_input();
    product("qkv", layers, s, d, 3 * shard, hidden);
    add_attention(part, sizes, attention, operators);
    product("out_proj", layers, s, shard, d, 0);
    residual("add_1");
    operators.push_back(layer_norm(sizes, "ln_2", layers));
    cast_input();
    product("fc1", layers, s, d, m, hidden);
    operators.push_back(streaming("gelu", OperatorKind::kGelu, layers, s * m, 2 * sizes.element));
    operators.back().flops = Flops(10 * s * m);
    operators.back().saved_bytes = Bytes(sizes.element * s * m);
    product("fc2", layers, s, m, d, s * m);
    residual("add_2");
  }
  if (part.head) {
    operators.push_back(layer_norm(sizes, "ln", 1));
    product("head", 1, sizes.head_rows, d, sizes.head_outputs, sizes.head_rows * d);
    if (part.model.is_token_model()) {
      operators.push_back(vocabulary_loss(sizes));
      operators.back().saved_bytes = Bytes(sizes.element * sizes.head_rows * sizes.head_outputs);
    }
  }
  return operators;
}

std::vector<Operator> backward_operators(const ModelPart& part,
                                         Precision precision,
                                         AttentionKernel attention,
                                         QkvSplit split) {
  const Sizes sizes(part, precision);
  const double s = sizes.tokens;
  const double d = sizes.width;
  const double m = sizes.mlp;
  const double shard = d / sizes.shards;
  const double hidden = sizes.hidden();
  const double sharded = sizes.sharded();
  const std::int64_t layers = part.block_count();

  std::vector<Operator> operators;
  // The gradients of a product's input, of its weights and of its biases.
  const auto product = [&](const Product& p, std::int64_t count) {
    Operator one = forward_product(sizes, p.name, count, p.rows, p.inner, p.outer, 0);
    one.parameter_bytes = Bytes(sizes.element * p.inner * p.outer);
    one.padding = padded(p.inner) / p.inner;
    operators.push_back(one);  // of the input
    one.padding *= padded(p.outer) / p.outer;
    operators.push_back(one);  // of the weights
    operators.push_back(
        streaming("bias_gradient", OperatorKind::kReduce, count, p.rows * p.outer, sizes.element));
    if (sizes.autocast) {
      operators.push_back(parameter_casts("gradient_cast", count, p.inner, p.outer));
    }
  };
  const auto norm = [&](std::int64_t count) {
    operators.push_back(streaming(
        "norm_input", OperatorKind::kLayerNormBackward, count, hidden, 3 * sizes.wide, 1));
    operators.push_back(streaming(
        "norm_parameters", OperatorKind::kLayerNormParameters, count, hidden, 2 * sizes.wide, 1));
    operators.push_back(streaming("add", OperatorKind::kAdd, count, hidden, 3 * sizes.wide));
    if (sizes.autocast) {
      // The product's gradient on its way in, and the residual's on its way out.
      operators.push_back(
          streaming("cast", OperatorKind::kCast, 2 * count, hidden, 4 + sizes.element));
    }
  };

  if (part.head) {
    if (part.model.is_token_model()) {
      operators.push_back(vocabulary_loss(sizes));
    }
    product({"head", sizes.head_rows, d, sizes.head_outputs}, 1);
  }
  if (layers > 0) {
    product({"fc2", s, m, d}, layers);
    operators.push_back(
        streaming("gelu", OperatorKind::kGeluBackward, layers, s * m, 3 * sizes.element));
    product({"fc1", s, d, m}, layers);
    norm(layers);
    product({"out_proj", s, shard, d}, layers);
    if (attention == AttentionKernel::kFused) {
      // Reads q, k, v, the output and its gradient, writes three gradients; that of q is summed up
      // in fp32 first.
      Operator one = fused_attention(sizes, part, 5);
      one.activation_bytes = Bytes((8 * sizes.element + 8) * sharded);
      one.launches = 3;
      operators.push_back(one);
    } else {
      for (const std::string_view label : {"values", "probabilities", "queries", "keys"}) {
        operators.push_back(unfused_product(sizes, part, label));
      }
      operators.push_back(streaming("softmax",
                                    OperatorKind::kSoftmax,
                                    layers,
                                    sizes.probabilities(),
                                    sizes.autocast ? 24 : 5 * sizes.element));
      operators.back().launches = 3;
      operators.push_back(
          streaming("head_copies", OperatorKind::kCopy, layers, 4 * sharded, 2 * sizes.element, 1));
      operators.back().launches = 2;
    }
    if (split == QkvSplit::kSelect) {
      operators.push_back(
          streaming("select_zeros", OperatorKind::kFill, 3 * layers, 3 * sharded, sizes.element));
      operators.push_back(
          streaming("select", OperatorKind::kCopy, 3 * layers, sharded, 2 * sizes.element, 1));
      operators.push_back(
          streaming("select_add", OperatorKind::kAdd, 2 * layers, 3 * sharded, 3 * sizes.element));
    }
    operators.push_back(
        streaming("stack", OperatorKind::kCopy, layers, 3 * sharded, 2 * sizes.element, 1));
    product({"qkv", s, d, 3 * shard}, layers);
    norm(layers);
  }
  if (part.embedding) {
    operators.push_back(streaming("positions", OperatorKind::kReduce, 1, hidden, sizes.wide));
    operators.push_back(part.model.is_token_model() ? embedding_rows(sizes)
                                                    : convolution(sizes, "patch_embedding"));
  }
  return operators;
}

Flops forward_flops(const ModelPart& part) {
  Flops total;
  for (const Operator& op : forward_operators(part, Precision::kFp32)) {
    if (op.kind == OperatorKind::kGemm || op.kind == OperatorKind::kConvolution ||
        op.kind == OperatorKind::kAttention) {
      total += static_cast<double>(op.count) * op.flops;
    }
  }
  return total;
}

Bytes activation_bytes_per_sample(const ModelPart& part,
                                  Precision precision,
                                  AttentionKernel attention) {
  Bytes total;
  for (const Operator& op : forward_operators(part, precision, attention)) {
    total += static_cast<double>(op.count) * op.saved_bytes;
  }
  return total;
}

}  // namespace vitsim
