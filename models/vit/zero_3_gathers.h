#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/parallelism.h"
#include "models/vit/partition.h"

namespace vitsim {

/// One module of a pass under ZeRO-3.
struct Zero3Step {
  bool is_backward = false;
  double begin = 0;  // of the pass's work: its own is from `begin` to `end`
  double end = 0;
  std::vector<std::size_t> issues;   // calls that go out before it, indices into `calls`
  std::optional<std::size_t> needs;  // the call that brings its parameters
};

/// What DeepSpeed's ZeRO-3 gathers in forward and backward of one micro-batch, once its first two
/// steps have recorded the order of modules.
struct Zero3Gathers {
  std::vector<std::int64_t> calls;       // elements of each AllGather
  std::vector<Zero3Step> steps;          // forward, then backward
  std::vector<std::int64_t> persistent;  // elements of each tensor that all ranks keep whole
  std::int64_t most_gathered = 0;        // elements of gathered parameters alive at once
};

/// Before each module, in this order (PartitionedParameterCoordinator.fetch_sub_module): its own
/// parameters are gathered in one call if they are not there; then those of the next modules, in
/// one more call, until `prefetch_bucket_size` or `max_live_parameters` is reached. Behind it they
/// are released, unless they are used again within `max_reuse_distance` elements of the order of
/// modules. Tensors below `param_persistence_threshold` are never split. Sizes are those of what
/// the rank holds of a model that is split in other ways too.
Zero3Gathers zero_3_gathers(const ModelPart& part, const ZeroSpec& zero);

}  // namespace vitsim
