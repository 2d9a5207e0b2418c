#include "sim/step/builder.h"

#include <algorithm>

#include "models/precision.h"
#include "models/vit/buckets.h"
#include "models/vit/gradient_copies.h"
#include "models/vit/vit.h"

namespace vitsim {

std::vector<SyncBucket> flat_buckets(std::int64_t elements, std::int64_t bytes_per_element) {
  constexpr std::int64_t kMostElements = 500'000'000;
  std::vector<SyncBucket> buckets;
  for (std::int64_t left = elements; left > 0; left -= kMostElements) {
    buckets.push_back({.bytes = std::min(left, kMostElements) * bytes_per_element});
  }
  return buckets;
}

bool copies_gradients(const TrainingSpec& training, std::size_t world_size) {
  return world_size > 1 || flattens_gradients(training);
}

StepProgram build_program(const TrainingSpec& training, const StepInput& input) {
  const Bytes element = gradient_bytes_per_parameter(training.precision);
  const auto flat = [&] {
    return flat_buckets(parameter_count(training.model),
                        static_cast<std::int64_t>(element.value()));
  };
  switch (training.gradient_sync) {
    case GradientSync::kDdp: {
      std::vector<SyncBucket> buckets;
      for (const GradientBucket& bucket : gradient_buckets(training.model, element)) {
        buckets.push_back({.bytes = bucket.bytes, .ready_share = bucket.ready_share});
      }
      return ddp_program(input, buckets);
    }
    case GradientSync::kDeepspeedZero0:
      return zero_0_program(input, flat());
    case GradientSync::kDeepspeedZero1:
    case GradientSync::kDistributedOptimizer:
      return zero_1_program(input, flat());
    case GradientSync::kDeepspeedZero2:
    case GradientSync::kDeepspeedZero3:
    case GradientSync::kFsdp:
      break;
  }
  return alone_program(input);
}

}  // namespace vitsim
