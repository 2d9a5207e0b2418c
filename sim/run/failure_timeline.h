#pragma once

#include <span>
#include <vector>

#include "models/report/timeline.h"
#include "sim/run/checkpoints.h"

namespace vitsim {

/// Puts a job's checkpoints and its failures at given times into the spans of its steps, which know
/// neither. A blocking checkpoint delays what follows. A failure cuts all ranks off; behind the
/// restart come the steps since the last whole checkpoint once more. `start` of the job on the
/// spans' clock.
void add_failures(std::vector<Span>& spans,
                  const CheckpointPlan& checkpoints,
                  const std::vector<GivenFailure>& failures,
                  Seconds start);

}  // namespace vitsim
