#include "models/vit/buckets.h"

#include <utility>

namespace vitsim {

namespace {

// Multiply-accumulates of backward that end with this tensor's gradient, relative to each other:
// every weight meets every token; attention's own products come just before its input projection.
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
    return tokens * elements +
           2 * tokens * static_cast<double>(part.padded_tokens() * part.model.width / part.tensor);
  }
  const bool weight = tensor.name.ends_with("weight") && tensor.shape.size() > 1;
  return weight ? tokens * elements : 0;
}

}  // namespace

std::vector<GradientBucket> gradient_buckets(const ModelPart& part, Bytes bytes_per_parameter) {
  const std::vector<ParameterTensor> tensors = parameters(part);
  const auto element = static_cast<std::int64_t>(bytes_per_parameter.value());
  double total = 0;
  for (const ParameterTensor& tensor : tensors) {
    total += backward_work(part, tensor);
  }
  std::vector<GradientBucket> buckets;
  GradientBucket open;
  double done = 0;
  for (std::size_t i = tensors.size(); i-- > 0;) {
    open.bytes += tensors[i].elements() * element;
    open.tensors.push_back(i);
    done += backward_work(part, tensors[i]);
    open.ready_share = done / total;
    if (open.bytes >= (buckets.empty() ? kFirstBucketCap : kBucketCap)) {
      buckets.push_back(std::exchange(open, {}));
    }
  }
  if (!open.tensors.empty()) {
    buckets.push_back(std::move(open));
  }
  buckets.back().ready_share = 1;
  return buckets;
}

}  // namespace vitsim
