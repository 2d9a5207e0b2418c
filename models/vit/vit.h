#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/units.h"

namespace vitsim {

/// A Vision Transformer as torchvision defines it: convolutional patch embedding, class token,
/// learned positions, pre-norm encoder layers, one linear head (Dosovitskiy et al., 2021).
struct VitSpec {
  std::string name = "custom";
  std::int64_t layers = 12;
  std::int64_t width = 768;
  std::int64_t heads = 12;
  std::int64_t mlp = 3072;
  std::int64_t patch = 16;  // pixels, square
  std::int64_t image_size = 224;
  std::int64_t channels = 3;
  std::int64_t classes = 1000;
  // A token model instead: an embedding of `vocabulary` rows, which is the head's matrix too, and
  // `text_tokens` positions. Patches, channels and classes then mean nothing.
  std::int64_t vocabulary = 0;
  std::int64_t text_tokens = 0;
  bool causal = false;  // attention sees no later token

  bool operator==(const VitSpec&) const = default;

  [[nodiscard]] bool is_token_model() const { return vocabulary > 0; }

  /// Patches plus the class token, or the tokens of a token model. `image_size` must be a multiple
  /// of `patch`.
  [[nodiscard]] std::int64_t tokens() const {
    if (is_token_model()) {
      return text_tokens;
    }
    return (image_size / patch) * (image_size / patch) + 1;
  }

  [[nodiscard]] std::int64_t head_width() const { return width / heads; }
};

/// What makes two models the same computation: all sizes but the number of classes, whose head is a
/// thousandth of the work. Names do not count: deit_* and vit_* of one size are one model, and
/// every model that is written out is called "custom".
struct Architecture {
  std::int64_t layers = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t mlp = 0;
  std::int64_t patch = 0;
  std::int64_t channels = 0;
  std::int64_t image_size = 0;
  std::int64_t vocabulary = 0;  // of token models, with their tokens
  std::int64_t text_tokens = 0;
  bool causal = false;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes for a 0.
  auto operator<=>(const Architecture&) const = default;
};

Architecture architecture(const VitSpec& vit);

inline bool same_architecture(const VitSpec& a, const VitSpec& b) {
  return architecture(a) == architecture(b);
}

/// The named variants: vit-ti-16, vit-s-16, vit-b-16, vit-b-32, vit-l-16, vit-h-14.
std::span<const VitSpec> vit_variants();

/// A named variant at 224 pixels and 1000 classes; none if the name is unknown.
std::optional<VitSpec> vit_variant(std::string_view name);

/// One learned tensor, in the order and under the name of torchvision's state_dict.
struct ParameterTensor {
  std::string name;
  std::vector<std::int64_t> shape;

  [[nodiscard]] std::int64_t elements() const;
};

/// Every learned tensor in registration order, e.g. 152 for vit-b-16. A token model has its
/// embedding in place of class token and patches, and no head of its own.
std::vector<ParameterTensor> parameters(const VitSpec& vit);

/// Learned parameters, e.g. 86,567,656 for vit-b-16 with 1000 classes.
std::int64_t parameter_count(const VitSpec& vit);

}  // namespace vitsim
