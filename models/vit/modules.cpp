#include "models/vit/modules.h"

#include <charconv>
#include <string_view>

namespace vitsim {

double backward_work(const ModelPart& part, const ParameterTensor& tensor) {
  const auto tokens = static_cast<double>(part.tokens());
  const auto elements = static_cast<double>(tensor.elements());
  if (tensor.name == "heads.head.weight") {
    return elements;
  }
  if (tensor.name == "embedding.weight") {
    return 0;
  }
  if (tensor.name.ends_with("in_proj_weight")) {
    const std::int64_t products = part.padded_tokens() * part.model.width / part.tensor;
    return tokens * elements + 2 * tokens * static_cast<double>(products);
  }
  const bool weight = tensor.name.ends_with("weight") && tensor.shape.size() > 1;
  return weight ? tokens * elements : 0;
}

std::int64_t block_of(const std::string& name) {
  constexpr std::string_view kPrefix = "encoder_layer_";
  const std::size_t at = name.find(kPrefix);
  std::int64_t block = -1;
  if (at != std::string::npos) {
    std::from_chars(name.data() + at + kPrefix.size(), name.data() + name.size(), block);
  }
  return block;
}

std::vector<LeafModule> leaf_modules(const ModelPart& part) {
  const std::vector<ParameterTensor> tensors = parameters(part);
  std::vector<LeafModule> modules;
  double total = 0;
  for (const ParameterTensor& tensor : tensors) {
    total += backward_work(part, tensor);
  }
  double done = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t dot = tensors[i].name.rfind('.');
    const std::string owner = dot == std::string::npos ? "" : tensors[i].name.substr(0, dot);
    if (modules.empty() || modules.back().name != owner) {
      modules.push_back({.name = owner, .first = i, .begin = done / total});
    }
    LeafModule& module = modules.back();
    ++module.tensors;
    module.elements += tensors[i].elements();
    done += backward_work(part, tensors[i]);
    module.end = done / total;
  }
  modules.back().end = 1;
  return modules;
}

}  // namespace vitsim
