#pragma once

#include <istream>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// What a DeepSpeed JSON configuration says about the run it lies beside: batch sizes, precision,
/// stage, optimizer, timers. Keys that DeepSpeed ignores are ignored. Throws UserError where it is
/// not JSON.
Piece read_deepspeed_config(std::istream& stream,
                            const std::string& origin,
                            const std::string& run);

}  // namespace vitsim
