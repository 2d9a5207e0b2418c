#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/vit/partition.h"
#include "models/vit/vit.h"

namespace vitsim {

/// A module that holds parameters of its own, e.g. a linear layer with its weight and bias. Passes
/// go through the modules in the order of registration, backward in the reverse order.
struct LeafModule {
  std::string name;       // e.g. "encoder.layers.encoder_layer_3.mlp.0"; empty for the model itself
  std::size_t first = 0;  // of its tensors in parameters(part)
  std::size_t tensors = 0;
  std::int64_t elements = 0;
  double begin = 0;  // of forward's products: its own are from `begin` to `end`
  double end = 0;
};

/// Of what a rank holds of a model; all of it where the model is not split.
std::vector<LeafModule> leaf_modules(const ModelPart& part);

/// The index of the encoder block that a tensor or module belongs to; -1 for what is in no block.
std::int64_t block_of(const std::string& name);

/// Multiply-accumulates of backward that end with this tensor's gradient, relative to each other:
/// every weight meets every token; attention's own products come just before its input projection.
double backward_work(const ModelPart& part, const ParameterTensor& tensor);

}  // namespace vitsim
