#pragma once

#include <optional>
#include <vector>

#include "sim/sample/epoch_sampler.h"
#include "sim/step/blocking.h"

namespace vitsim {

/// Runs by integrals: a step is the sum over rounds of the slowest rank's compute and the
/// collectives.
std::unique_ptr<EpochSampler> make_blocking_sampler(const ResolvedJob& job, const Noise& noise);

/// Rounds of the job's steps where they block, see blocking.h; nothing elsewhere.
std::optional<std::vector<BlockingRound>> rounds_of(const ResolvedJob& job,
                                                    const StepProgram& program);

}  // namespace vitsim
