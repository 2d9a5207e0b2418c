#pragma once

#include <cstdint>
#include <string>

#include "models/experiment/training.h"
#include "sim/collective/algorithm.h"

namespace vitsim {

class Communicator;

/// The algorithm that a collective of this size takes, and who chose it:
/// "ring (LL128), as NCCL chooses between GPUs".
std::string choice_text(const Communicator& group,
                        AllReduceAlgorithm word,
                        CollectiveKind kind,
                        std::int64_t bytes);

}  // namespace vitsim
