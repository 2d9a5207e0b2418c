#include "models/vit/vit.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "models/vit/partition.h"

namespace vitsim {

namespace {

VitSpec variant(std::string name,
                std::int64_t layers,
                std::int64_t width,
                std::int64_t heads,
                std::int64_t patch) {
  return {.name = std::move(name),
          .layers = layers,
          .width = width,
          .heads = heads,
          .mlp = 4 * width,
          .patch = patch};
}

}  // namespace

Architecture architecture(const VitSpec& vit) {
  return {.layers = vit.layers,
          .width = vit.width,
          .heads = vit.heads,
          .mlp = vit.mlp,
          .patch = vit.patch,
          .channels = vit.channels,
          .image_size = vit.image_size,
          .vocabulary = vit.vocabulary,
          .text_tokens = vit.text_tokens,
          .causal = vit.causal};
}

std::span<const VitSpec> vit_variants() {
  static const std::array<VitSpec, 6> kVariants = {variant("vit-ti-16", 12, 192, 3, 16),
                                                   variant("vit-s-16", 12, 384, 6, 16),
                                                   variant("vit-b-16", 12, 768, 12, 16),
                                                   variant("vit-b-32", 12, 768, 12, 32),
                                                   variant("vit-l-16", 24, 1024, 16, 16),
                                                   variant("vit-h-14", 32, 1280, 16, 14)};
  return kVariants;
}

std::optional<VitSpec> vit_variant(std::string_view name) {
  const auto all = vit_variants();
  const auto found = std::ranges::find(all, name, &VitSpec::name);
  return found == all.end() ? std::nullopt : std::optional(*found);
}

std::int64_t ParameterTensor::elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::vector<ParameterTensor> parameters(const VitSpec& vit) {
  const std::int64_t d = vit.width;
  std::vector<ParameterTensor> tensors;
  if (vit.is_token_model()) {
    tensors.push_back({"embedding.weight", {vit.vocabulary, d}});
  } else {
    tensors.push_back({"class_token", {1, 1, d}});
    tensors.push_back({"conv_proj.weight", {d, vit.channels, vit.patch, vit.patch}});
    tensors.push_back({"conv_proj.bias", {d}});
  }
  tensors.push_back({"encoder.pos_embedding", {1, vit.tokens(), d}});
  for (std::int64_t layer = 0; layer < vit.layers; ++layer) {
    const std::string prefix = "encoder.layers.encoder_layer_" + std::to_string(layer) + ".";
    tensors.push_back({prefix + "ln_1.weight", {d}});
    tensors.push_back({prefix + "ln_1.bias", {d}});
    tensors.push_back({prefix + "self_attention.in_proj_weight", {3 * d, d}});
    tensors.push_back({prefix + "self_attention.in_proj_bias", {3 * d}});
    tensors.push_back({prefix + "self_attention.out_proj.weight", {d, d}});
    tensors.push_back({prefix + "self_attention.out_proj.bias", {d}});
    tensors.push_back({prefix + "ln_2.weight", {d}});
    tensors.push_back({prefix + "ln_2.bias", {d}});
    tensors.push_back({prefix + "mlp.0.weight", {vit.mlp, d}});
    tensors.push_back({prefix + "mlp.0.bias", {vit.mlp}});
    tensors.push_back({prefix + "mlp.3.weight", {d, vit.mlp}});
    tensors.push_back({prefix + "mlp.3.bias", {d}});
  }
  tensors.push_back({"encoder.ln.weight", {d}});
  tensors.push_back({"encoder.ln.bias", {d}});
  if (!vit.is_token_model()) {
    tensors.push_back({"heads.head.weight", {vit.classes, d}});
    tensors.push_back({"heads.head.bias", {vit.classes}});
  }
  return tensors;
}

std::int64_t parameter_count(const VitSpec& vit) {
  return parameter_count(ModelPart(vit));
}

}  // namespace vitsim
