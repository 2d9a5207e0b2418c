#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "models/phase.h"
#include "sim/step/program.h"

namespace vitsim {

/// Compute that everybody does before collectives which everybody waits for.
struct BlockingRound {
  std::vector<double> compute_s;                     // by class
  double communication_s = 0;                        // from when the last rank has come
  std::array<double, kPhaseNames.size()> phase_s{};  // the same by phase
};

/// What a collective takes once the last rank has come, the same for all; nothing where ranks end
/// it at different times.
using TogetherTime = std::function<std::optional<Tick>(const Collective&)>;

/// The rounds of a step in which compute and communication never overlap and every collective takes
/// everybody equally long: a step is the sum over rounds of the slowest rank's compute and the
/// collectives. What a rank computes behind the last collective belongs to the first round of the
/// next step, and is counted there. Nothing for other programs.
std::optional<std::vector<BlockingRound>> blocking_rounds(const StepProgram& program,
                                                          const TogetherTime& together);

}  // namespace vitsim
