#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/phase.h"
#include "models/report/timeline.h"

namespace vitsim {

/// One stretch of a rank's step, in seconds from the beginning of the step.
struct StepSpan {
  Stream stream = Stream::kCompute;
  Phase phase = Phase::kForward;
  double begin_s = 0;
  double end_s = 0;
  bool straggler_wait = false;
};

/// What one rank does in a typical step.
struct StepTrack {
  std::int64_t rank = 0;
  std::string name;  // "node: gpu", with the number of ranks where it stands for a class
  std::vector<StepSpan> spans;
};

/// What a step puts on the most loaded link of one place in the cluster.
struct LinkUse {
  std::string name;  // of the node or the trunk
  std::string kind;  // "nic", "inside node" or "trunk"
  double bandwidth_bytes_per_s = 0;
  double bytes = 0;  // in one step and one direction
  double share = 0;  // of what the link could carry in that time
};

}  // namespace vitsim
