#pragma once

#include <string>

#include "models/report/report.h"
#include "sim/job/scenario.h"
#include "sim/sample/epoch_sampler.h"

namespace vitsim {

/// One sentence with its figures on what a job's epoch waits for: ranks that run out of memory, the
/// ranks that hold the others up, communication, or nothing but compute. `report` has its epoch,
/// step and ranks; without a sampler nobody is named for being slow.
std::string bottleneck(const Scenario& scenario, const Report& report, const EpochSampler* sampler);

}  // namespace vitsim
