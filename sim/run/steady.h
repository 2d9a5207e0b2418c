#pragma once

#include <span>
#include <vector>

#include "models/units.h"
#include "sim/engine/network.h"
#include "sim/run/run.h"

namespace vitsim {

/// A job that makes full steps without end.
struct SteadyJob {
  const JobPlan* plan = nullptr;
  std::vector<double> slowdown;  // by position; empty: none
  Seconds begin;                 // of its first step
};

/// Mean full step of each job once all of them go on together, message by message. Enough steps are
/// simulated for each to make a few dozen, fewer where that would take too many messages. Throws
/// UserError where a time overflows the clock.
std::vector<Seconds> steady_steps(const Network& network, std::span<const SteadyJob> jobs);

}  // namespace vitsim
