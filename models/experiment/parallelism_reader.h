#pragma once

#include <cstdint>

#include "models/document/document_reader.h"
#include "models/experiment/training.h"

namespace vitsim {

/// Reads the keys of a training section that say how the work is split and shrunk: zero, fsdp,
/// parallelism, recompute, offload, communication_hook, local_updates. World size 0 is unknown.
void read_parallelism(ObjectReader& object, TrainingSpec& training, std::int64_t world_size);

/// Records a problem, with its cure, for every combination that no framework offers: degrees that
/// do not divide the world size (0: unknown), heads or blocks, hooks with ZeRO, and the like.
void check_parallelism(ObjectReader& object, const TrainingSpec& training, std::int64_t world_size);

}  // namespace vitsim
