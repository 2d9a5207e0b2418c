#pragma once

#include <memory>

#include "sim/sample/epoch_sampler.h"

namespace vitsim {

/// Runs from simulated steps, for any program on any network.
std::unique_ptr<EpochSampler> make_simulated_sampler(const ResolvedJob& job, const Noise& noise);

}  // namespace vitsim
