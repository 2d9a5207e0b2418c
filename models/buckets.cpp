#include "models/buckets.h"

#include <utility>

namespace vitsim {

std::vector<GradientBucket> gradient_buckets(const VitSpec& vit, Bytes bytes_per_parameter) {
  const std::vector<ParameterTensor> tensors = parameters(vit);
  const auto element = static_cast<std::int64_t>(bytes_per_parameter.value());
  std::vector<GradientBucket> buckets;
  GradientBucket open;
  for (std::size_t i = tensors.size(); i-- > 0;) {
    open.bytes += tensors[i].elements() * element;
    open.tensors.push_back(i);
    if (open.bytes >= (buckets.empty() ? kFirstBucketCap : kBucketCap)) {
      buckets.push_back(std::exchange(open, {}));
    }
  }
  if (!open.tensors.empty()) {
    buckets.push_back(std::move(open));
  }
  return buckets;
}

}  // namespace vitsim
