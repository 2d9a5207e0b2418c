#pragma once

#include <memory>

#include "sim/sample/epoch_sampler.h"

namespace vitsim {

/// Runs from simulated steps, for any program on any network. `every_rank`: see
/// make_epoch_sampler.
std::unique_ptr<EpochSampler> make_simulated_sampler(const ResolvedJob& job,
                                                     const Noise& noise,
                                                     bool every_rank);

}  // namespace vitsim
