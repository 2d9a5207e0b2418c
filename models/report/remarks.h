#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/experiment/training.h"
#include "models/report/report.h"
#include "models/vit/activations.h"
#include "models/vit/memory.h"

namespace vitsim {

/// The plain way to train that a chosen one is compared with: whole state everywhere, whole
/// gradients in every step. None where it is plain itself.
std::optional<TrainingSpec> plain_way(const TrainingSpec& training);

/// Why the chosen way to train costs what it costs, in sentences: its step, bytes and memory beside
/// those of the plain way, and what would fit. `plain_step_s` is the plain way's step, where it was
/// predicted. `ranks` are all kinds; those whose memory is the tightest are spoken of. None for
/// plain ddp that fits.
std::vector<std::string> remarks(const TrainingSpec& training,
                                 const Report& report,
                                 const std::vector<RankLimits>& ranks,
                                 std::optional<double> plain_step_s = std::nullopt);

}  // namespace vitsim
