#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "models/units.h"

namespace vitsim {

/// Arithmetic of a training. fp16 and bf16 hold the whole model and its gradients in that type with
/// fp32 master weights, as DeepSpeed does; amp-* mean torch autocast: matrix products in the short
/// type; weights, gradients and optimizer in fp32.
enum class Precision { kFp32, kTf32, kFp16, kBf16, kAmpFp16, kAmpBf16 };

inline constexpr std::array<std::string_view, 6> kPrecisionNames = {
    "fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16"};

constexpr std::string_view name(Precision precision) {
  return kPrecisionNames[static_cast<std::size_t>(precision)];
}

constexpr std::optional<Precision> precision_from_name(std::string_view text) {
  for (std::size_t i = 0; i < kPrecisionNames.size(); ++i) {
    if (kPrecisionNames[i] == text) {
      return static_cast<Precision>(i);
    }
  }
  return std::nullopt;
}

/// Bytes of one gradient element, which is what AllReduce moves.
constexpr Bytes gradient_bytes_per_parameter(Precision precision) {
  return precision == Precision::kFp16 || precision == Precision::kBf16 ? Bytes(2) : Bytes(4);
}

/// True where fp32 master copies of the weights exist beside the model's own.
constexpr bool has_master_weights(Precision precision) {
  return precision == Precision::kFp16 || precision == Precision::kBf16;
}

/// True where torch autocast casts the inputs of matrix products.
constexpr bool is_autocast(Precision precision) {
  return precision == Precision::kAmpFp16 || precision == Precision::kAmpBf16;
}

/// Bytes of one element in matrix products and activations.
constexpr Bytes arithmetic_bytes(Precision precision) {
  return precision == Precision::kFp32 || precision == Precision::kTf32 ? Bytes(4) : Bytes(2);
}

}  // namespace vitsim
