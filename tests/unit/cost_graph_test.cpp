#include "models/vit/cost_graph.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

double giga_multiply_accumulates(VitSpec vit) {
  return forward_flops(vit).value() / 2 / 1e9;
}

VitSpec at(const char* name, std::int64_t image_size, std::int64_t patch, std::int64_t classes) {
  VitSpec vit = vit_variant(name).value();
  vit.image_size = image_size;
  vit.patch = patch;
  vit.classes = classes;
  return vit;
}

// torchvision's `_ops` and timm's table, to the digits of the formula.
TEST(CostGraph, ForwardWorkIsThePublishedOne) {
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-b-16")), 17.564, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-b-32")), 4.409, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-l-16")), 61.555, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-h-14")), 167.295, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-ti-16")), 1.254, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(*vit_variant("vit-s-16")), 4.599, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-h-14", 518, 14, 1000)), 1016.717, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-l-16", 224, 32, 1000)), 15.378, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-s-16", 224, 32, 1000)), 1.143, 5e-4);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-ti-16", 32, 4, 10)), 0.365, 5e-3);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-s-16", 32, 4, 10)), 1.42, 5e-3);
  EXPECT_NEAR(giga_multiply_accumulates(at("vit-b-16", 32, 4, 10)), 5.60, 5e-3);
}

TEST(CostGraph, TrainingIsThreeForwardPasses) {
  const VitSpec vit = *vit_variant("vit-b-16");
  EXPECT_EQ(training_flops(vit).value(), 3 * forward_flops(vit).value());
}

// One layer of width D, S tokens, MLP M keeps for backward, in elements: ln_1 input S D, qkv input
// S D, attention's q, k, v and output 4 S D (and H S floats of log-sum-exp), ln_2 input S D, fc1
// input S D, GELU input S M, fc2 input S M; before and after the layers: the patches, the last
// norm's input, the head's input.
TEST(CostGraph, SavedActivationsOfASmallModel) {
  const VitSpec vit{.layers = 2,
                    .width = 8,
                    .heads = 2,
                    .mlp = 32,
                    .patch = 4,
                    .image_size = 8,
                    .channels = 3,
                    .classes = 5};
  const double s = 5;  // 2 x 2 patches and the class token
  const double layer = s * 8 * (1 + 1 + 4 + 1 + 1) + 2 * s * 32;
  const double patches = 4 * 3 * 4 * 4;
  const double elements = 2 * layer + patches + s * 8 + 8;
  const double log_sum_exp = 2 * (2 * s) * 4;  // bytes: 2 layers, H S floats
  EXPECT_EQ(activation_bytes_per_sample(vit, Precision::kFp32).value(), 4 * elements + log_sum_exp);
  EXPECT_EQ(activation_bytes_per_sample(vit, Precision::kFp16).value(), 2 * elements + log_sum_exp);
  // Unfused attention keeps its H S^2 probabilities instead.
  EXPECT_EQ(activation_bytes_per_sample(vit, Precision::kFp32, AttentionKernel::kUnfused).value(),
            4 * (elements + 2 * 2 * s * s));
}

TEST(CostGraph, ParametersAreReadOnce) {
  // Weights and biases that the operators read are the model's parameters, but for the class token.
  for (const VitSpec& vit : vit_variants()) {
    double bytes = 0;
    for (const Operator& op : forward_operators(vit, Precision::kFp32)) {
      bytes += static_cast<double>(op.count) * op.parameter_bytes.value();
    }
    EXPECT_EQ(bytes, 4.0 * static_cast<double>(parameter_count(vit) - vit.width)) << vit.name;
  }
}

const Operator& find(const std::vector<Operator>& operators, std::string_view name) {
  return *std::ranges::find(operators, name, &Operator::name);
}

TEST(CostGraph, HalfPrecisionMovesHalfTheBytes) {
  const VitSpec vit = *vit_variant("vit-b-16");
  const auto full = forward_operators(vit, Precision::kFp32);
  const auto half = forward_operators(vit, Precision::kBf16);
  const auto autocast = forward_operators(vit, Precision::kAmpBf16);
  ASSERT_EQ(full.size(), half.size());
  for (std::size_t i = 0; i < full.size(); ++i) {
    EXPECT_EQ(half[i].activation_bytes.value() * 2, full[i].activation_bytes.value());
    EXPECT_EQ(half[i].flops, full[i].flops);
    // Autocast keeps norms in fp32 and products in bf16.
    const Operator& cast = find(autocast, full[i].name);
    if (full[i].kind == OperatorKind::kLayerNorm) {
      EXPECT_EQ(cast.activation_bytes, full[i].activation_bytes);
    }
    if (full[i].kind == OperatorKind::kGemm) {
      EXPECT_EQ(cast.activation_bytes, half[i].activation_bytes);
    }
  }
}

double flops_of(const std::vector<Operator>& operators, OperatorKind kind) {
  double sum = 0;
  for (const Operator& op : operators) {
    sum += op.kind == kind ? static_cast<double>(op.count) * op.flops.value() : 0;
  }
  return sum;
}

// Each product has two in backward, and fused attention computes its probabilities again: five
// products of S x S where forward has two.
TEST(CostGraph, BackwardDoublesProducts) {
  const VitSpec vit = *vit_variant("vit-b-16");
  const auto forward = forward_operators(vit, Precision::kBf16);
  const auto backward = backward_operators(vit, Precision::kBf16);
  EXPECT_EQ(flops_of(backward, OperatorKind::kGemm), 2 * flops_of(forward, OperatorKind::kGemm));
  EXPECT_EQ(flops_of(backward, OperatorKind::kAttention),
            2.5 * flops_of(forward, OperatorKind::kAttention));
}

double bytes_of(const std::vector<Operator>& operators, OperatorKind kind) {
  double sum = 0;
  for (const Operator& op : operators) {
    sum += op.kind == kind ? static_cast<double>(op.count) * op.activation_bytes.value() : 0;
  }
  return sum;
}

// vit-b-16 in bf16 over 256 images adds up, by the profiler, 9.1 ms of adds, 2.6 ms of fills, 2.6
// ms of GELU and 3.7 ms of its gradient at about 3 TB/s: with N = 256 S D elements of 2 bytes, 12
// layers of (2 + 2) residual adds of 3 N and of 2 adds of 9 N; fills of 9 N; GELU of 8 N, and 12 N.
TEST(CostGraph, StreamsWhatTheProfilerShows) {
  const VitSpec vit = *vit_variant("vit-b-16");
  const double n = 2.0 * static_cast<double>(vit.tokens() * vit.width);
  const auto forward = forward_operators(vit, Precision::kBf16);
  const auto backward = backward_operators(vit, Precision::kBf16);
  EXPECT_DOUBLE_EQ(bytes_of(forward, OperatorKind::kAdd), 12 * 2 * 3 * n + 3 * n);
  EXPECT_DOUBLE_EQ(bytes_of(backward, OperatorKind::kAdd), 12 * (2 * 3 + 2 * 9) * n);
  EXPECT_DOUBLE_EQ(bytes_of(backward, OperatorKind::kFill), 12 * 9 * n);
  EXPECT_DOUBLE_EQ(bytes_of(forward, OperatorKind::kGelu), 12 * 8 * n);
  EXPECT_DOUBLE_EQ(bytes_of(backward, OperatorKind::kGeluBackward), 12 * 12 * n);
}

// `unbind` saves the fills, two adds and three copies of each layer and keeps the stack.
TEST(CostGraph, UnbindSavesWhatSelectCosts) {
  const VitSpec vit = *vit_variant("vit-b-16");
  const auto backward = [&](QkvSplit split) {
    return backward_operators(vit, Precision::kBf16, AttentionKernel::kFused, split);
  };
  const double n = 2.0 * static_cast<double>(vit.tokens() * vit.width);
  EXPECT_EQ(bytes_of(backward(QkvSplit::kUnbind), OperatorKind::kFill), 0);
  EXPECT_DOUBLE_EQ(bytes_of(backward(QkvSplit::kUnbind), OperatorKind::kCopy), 12 * 6 * n);
  EXPECT_DOUBLE_EQ(bytes_of(backward(QkvSplit::kSelect), OperatorKind::kCopy), 12 * 12 * n);
}

// Autocast casts every weight to the short type and its gradient back: 6 bytes each way.
TEST(CostGraph, AutocastCastsWeightsBothWays) {
  const VitSpec vit = *vit_variant("vit-b-16");
  const auto casts = [](const std::vector<Operator>& operators) {
    double sum = 0;
    for (const Operator& op : operators) {
      sum += op.kind == OperatorKind::kCast
                 ? static_cast<double>(op.count) * op.parameter_bytes.value()
                 : 0;
    }
    return sum;
  };
  EXPECT_EQ(casts(forward_operators(vit, Precision::kBf16)), 0);
  const double layer = 4.0 * 768 * 768 + 4 * 768 + 2.0 * 768 * 3072 + 3072 + 768;
  const double ends = 768 * 768 + 768 + 768 * 1000 + 1000;
  EXPECT_DOUBLE_EQ(casts(forward_operators(vit, Precision::kAmpBf16)), 6 * (12 * layer + ends));
  EXPECT_DOUBLE_EQ(casts(backward_operators(vit, Precision::kAmpBf16)),
                   6 * (12 * layer + 768 * 1000 + 1000));
}

}  // namespace
}  // namespace vitsim
