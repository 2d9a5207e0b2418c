#include "models/vit/buckets.h"

#include <utility>

#include "models/vit/modules.h"

namespace vitsim {

namespace {

/// Gradients in ready order, each bucket closed where `closes_before` or `closes_after` says so;
/// both are given the elements that the open bucket holds.
template <class Before, class After>
std::vector<GradientBucket> buckets_of(const ModelPart& part,
                                       Bytes bytes_per_parameter,
                                       Before closes_before,
                                       After closes_after) {
  const std::vector<ParameterTensor> tensors = parameters(part);
  const auto element = static_cast<std::int64_t>(bytes_per_parameter.value());
  double total = 0;
  for (const ParameterTensor& tensor : tensors) {
    total += backward_work(part, tensor);
  }
  std::vector<GradientBucket> buckets;
  GradientBucket open;
  std::int64_t held = 0;
  double done = 0;
  const auto close = [&] {
    buckets.push_back(std::exchange(open, {}));
    held = 0;
  };
  for (std::size_t i = tensors.size(); i-- > 0;) {
    const std::int64_t elements = tensors[i].elements();
    if (held > 0 && closes_before(held, elements)) {
      close();
    }
    held += elements;
    open.bytes += elements * element;
    open.tensors.push_back(i);
    done += backward_work(part, tensors[i]);
    open.ready_share = done / total;
    if (closes_after(held, buckets.size())) {
      close();
    }
  }
  if (!open.tensors.empty()) {
    close();
  }
  buckets.back().ready_share = 1;
  return buckets;
}

}  // namespace

std::vector<GradientBucket> gradient_buckets(const ModelPart& part, Bytes bytes_per_parameter) {
  const auto element = static_cast<std::int64_t>(bytes_per_parameter.value());
  return buckets_of(
      part,
      bytes_per_parameter,
      [](std::int64_t, std::int64_t) { return false; },
      [&](std::int64_t held, std::size_t closed) {
        return held * element >= (closed == 0 ? kFirstBucketCap : kBucketCap);
      });
}

std::vector<GradientBucket> deepspeed_buckets(const ModelPart& part,
                                              Bytes bytes_per_parameter,
                                              std::int64_t most_elements) {
  return buckets_of(
      part,
      bytes_per_parameter,
      [&](std::int64_t held, std::int64_t next) { return held + next > most_elements; },
      [](std::int64_t, std::size_t) { return false; });
}

}  // namespace vitsim
