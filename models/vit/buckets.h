#pragma once

#include <cstdint>
#include <vector>

#include "models/units.h"
#include "models/vit/partition.h"

namespace vitsim {

/// Gradients that one AllReduce carries.
struct GradientBucket {
  std::int64_t bytes = 0;
  std::vector<std::size_t> tensors;  // indices into parameters(part), in ready order
  double ready_share = 1;            // of backward's work after which all of them are ready
};

/// DDP's defaults: c10d's kDefaultFirstBucketBytes and kDefaultBucketBytesCap.
inline constexpr std::int64_t kFirstBucketCap = std::int64_t{1024} * 1024;
inline constexpr std::int64_t kBucketCap = std::int64_t{25} * 1024 * 1024;

/// The buckets of c10d's Reducer after its rebuild: gradients in ready order (the reverse of
/// registration), a bucket closed as soon as its size reaches the cap; tensors are never split.
/// For vit-b-16 in fp32: 3,076,000 B; 12 x 28,351,488 B; 2,976,768 B. A tensor is ready when the
/// products of its layer are done, by their share of backward's multiply-accumulates. Of a part of
/// a model: what its rank holds.
std::vector<GradientBucket> gradient_buckets(const ModelPart& part, Bytes bytes_per_parameter);

/// The buckets of DeepSpeed's ZeRO: gradients in ready order; a bucket is flushed where the next
/// gradient would take it beyond `most_elements` (`reduce_bucket_size`). A larger gradient is a
/// bucket of its own.
std::vector<GradientBucket> deepspeed_buckets(const ModelPart& part,
                                              Bytes bytes_per_parameter,
                                              std::int64_t most_elements);

}  // namespace vitsim
