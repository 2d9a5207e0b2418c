#pragma once

#include <vector>

#include "sim/step/gradient_all_reduce.h"
#include "sim/step/work.h"

namespace vitsim {

/// Exposed communication and waiting of one position's step, see StepOutcome.
struct Accounted {
  Tick exposed = 0;
  Tick wait = 0;
};

/// `begins`, `ends` and `alone` by call (reductions, then gathers) and position.
Accounted account(const SyncCalls& calls,
                  const std::vector<std::vector<Tick>>& alone,
                  const std::vector<std::vector<Tick>>& begins,
                  const std::vector<std::vector<Tick>>& ends,
                  std::size_t position,
                  Tick ready,
                  Tick sync_end);

/// By call and position: reductions, then gathers.
std::vector<std::vector<Tick>> alone_times(const Communicator& group,
                                           const SyncCalls& calls,
                                           Tick overhead);

/// Adds one step to the late counts: those whose readiness is the latest share it.
void count_late(const std::vector<Tick>& ready, double steps, std::vector<double>& late_steps);

}  // namespace vitsim
