#pragma once

#include <vector>

#include "sim/step/compute_speed.h"
#include "sim/step/work.h"

namespace vitsim {

/// One rank's compute stream within a step: where it is in time, and where its spans are noted.
struct ComputeStream {
  const ComputeSpeed& speed;
  std::uint32_t position = 0;
  Tick now = 0;
  std::vector<StepSpan>* spans = nullptr;

  void note(Stream stream, Phase phase, Tick begin, Tick end, std::int64_t bytes = 0) const {
    if (spans != nullptr && end > begin) {
      spans->push_back({.position = position,
                        .stream = stream,
                        .phase = phase,
                        .begin = begin,
                        .end = end,
                        .bytes = bytes});
    }
  }

  /// Computes for `work` ticks of full speed.
  void compute(Phase phase, Tick work) {
    const Tick begin = now;
    now = speed.is_constant() ? now + work : speed.finish(now, static_cast<double>(work), 1);
    note(Stream::kCompute, phase, begin, now);
  }
};

}  // namespace vitsim
