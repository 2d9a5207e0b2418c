#include <algorithm>

#include "models/error.h"
#include "sim/step/replica.h"

namespace vitsim {

namespace {

// The k-th virtual micro-batch of an interleaved schedule: groups of `stages` micro-batches pass
// through chunk 0, then chunk 1, ...; backward through the chunks in reverse.
PipelinePass virtual_pass(std::int64_t k,
                          std::int64_t stages,
                          std::int64_t chunks,
                          bool is_forward) {
  const std::int64_t group = stages * chunks;
  const std::int64_t chunk = k % group / stages;
  return {.is_forward = is_forward,
          .chunk = is_forward ? chunk : chunks - 1 - chunk,
          .micro_batch = k / group * stages + k % stages};
}

}  // namespace

std::vector<PipelinePass> pipeline_order(PipelineSchedule schedule,
                                         std::int64_t stages,
                                         std::int64_t stage,
                                         std::int64_t chunks,
                                         std::int64_t micro_batches) {
  const bool interleaved = schedule == PipelineSchedule::kInterleaved && chunks > 1;
  if (interleaved) {
    VITSIM_CHECK(micro_batches % stages, ==, 0);
  }
  const std::int64_t passes = micro_batches * chunks;
  const auto pass = [&](std::int64_t k, bool is_forward) {
    return interleaved ? virtual_pass(k, stages, chunks, is_forward)
                       : PipelinePass{.is_forward = is_forward, .chunk = 0, .micro_batch = k};
  };
  std::int64_t ahead = stages - stage - 1;
  if (schedule == PipelineSchedule::kGpipe) {
    ahead = passes;
  } else if (interleaved) {
    // With one micro-batch for each stage nothing is gained by alternating earlier.
    ahead = micro_batches == stages ? passes : 2 * ahead + (chunks - 1) * stages;
  }
  ahead = std::min(ahead, passes);
  std::vector<PipelinePass> order;
  for (std::int64_t k = 0; k < ahead; ++k) {
    order.push_back(pass(k, true));
  }
  for (std::int64_t k = ahead; k < passes; ++k) {
    order.push_back(pass(k, true));
    order.push_back(pass(k - ahead, false));
  }
  for (std::int64_t k = passes - ahead; k < passes; ++k) {
    order.push_back(pass(k, false));
  }
  return order;
}

}  // namespace vitsim
