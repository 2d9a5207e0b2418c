#pragma once

#include <istream>
#include <string>
#include <string_view>

#include "calibrate/import/piece.h"

namespace vitsim {

/// Whether a line is one by which a training log of the kinds below is known.
bool marks_training_log(std::string_view line);

/// Reads what training scripts print of their own progress, through torchrun or any launcher:
/// Hugging Face's Trainer and Accelerate's examples (the banner "***** Running training *****",
/// "train_runtime", the progress bar), PyTorch's and torchvision's reference scripts
/// ("Epoch: [0][10/5005] Time 0.352"), timm ("Time: 0.412s") and Megatron ("elapsed time per
/// iteration (ms): 1234.5"). Gives "step" of each rank that printed, the seconds of a step as often
/// as the log states them, and what the banner says: samples, epochs, micro-batch, accumulation,
/// ranks, parameters. Throws UserError if no step time is in it.
Piece read_training_log(std::istream& stream, const std::string& origin, const std::string& run);

}  // namespace vitsim
