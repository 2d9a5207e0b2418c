#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "models/experiment/training.h"
#include "models/precision.h"
#include "models/units.h"
#include "models/vit/partition.h"
#include "models/vit/vit.h"

namespace vitsim {

/// Kinds of kernels: those of one kind share their rates.
enum class OperatorKind {
  kGemm,
  kConvolution,
  kAttention,
  kSoftmax,
  kLayerNorm,
  kLayerNormBackward,
  kLayerNormParameters,
  kGelu,
  kGeluBackward,
  kAdd,
  kCopy,
  kCast,
  kFill,
  kReduce,
};

std::string_view name(OperatorKind kind);

/// Attention either keeps its S x S matrices in memory (unfused, torch 1.x) or not (fused, torch
/// 2).
enum class AttentionKernel { kFused, kUnfused };

/// How the joined query, key and value are taken apart. `select` costs in backward a zero fill and
/// a copy for each of the three, and two adds, all of tensors three times as wide as the layer;
/// `unbind` costs one stack.
enum class QkvSplit { kSelect, kUnbind };

inline constexpr std::array<std::string_view, 2> kQkvSplitNames = {"select", "unbind"};

/// One kind of kernel of a pass over one image; `count` of them run one after another.
struct Operator {
  std::string_view name;
  OperatorKind kind;
  std::int64_t count;         // operators per pass, whatever the batch
  Flops flops;                // per operator and image; a multiply-accumulate is two
  Bytes activation_bytes;     // moved per operator and image: activations read and written
  Bytes parameter_bytes;      // moved per operator, once for the whole batch
  Bytes saved_bytes;          // kept for backward, per operator and image
  std::int64_t inner_width;   // the product's smaller weight dimension, 0 where it has none
  std::int64_t launches = 1;  // kernels per operator
  double elements = 0;        // read per operator and image, by kinds that handle them one by one
  double padding = 1;         // flops with the tiles' padding, by flops
};

/// The forward pass of a part of a model, or of a whole one, in execution order. Flops follow the
/// usual count: (S-1)*C*p^2*D for the patches, per layer 4*S*D^2 + 2*S^2*D + 2*S*D*M
/// multiply-accumulates, D*classes for the head. A token model looks its embedding up instead, and
/// its head is S*D*vocabulary. Causal attention does half of the products. A rank of t that share
/// the matrices has a t-th of each block's products.
std::vector<Operator> forward_operators(const ModelPart& part,
                                        Precision precision,
                                        AttentionKernel attention = AttentionKernel::kFused);

/// The backward pass, from the head to the patches: each product twice, fused attention two and a
/// half times forward's work since it computes its probabilities again. What recomputation adds is
/// not among them.
std::vector<Operator> backward_operators(const ModelPart& part,
                                         Precision precision,
                                         AttentionKernel attention = AttentionKernel::kFused,
                                         QkvSplit split = QkvSplit::kSelect);

/// Matrix products of one forward pass and image, e.g. 2 x 17.56 G for vit-b-16.
Flops forward_flops(const ModelPart& part);

/// Forward plus backward, which costs twice the forward pass; recomputation does not count.
inline Flops training_flops(const ModelPart& part) {
  return 3 * forward_flops(part);
}

/// Bytes that an update moves per parameter, all fp32: weight, gradient and state are read, weight
/// and state written. AdamW and LAMB keep two moments, 4 * (4 + 3) = 28; SGD keeps its momentum,
/// 4 * (3 + 2) = 20.
constexpr Bytes update_bytes_per_parameter(OptimizerKind optimizer) {
  return optimizer == OptimizerKind::kSgd ? Bytes(20) : Bytes(28);
}

/// Activations that forward keeps for backward, per sample.
Bytes activation_bytes_per_sample(const ModelPart& part,
                                  Precision precision,
                                  AttentionKernel attention = AttentionKernel::kFused);

}  // namespace vitsim
