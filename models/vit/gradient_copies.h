#pragma once

#include "models/experiment/training.h"

namespace vitsim {

/// Whether a step copies all gradients to a flat buffer and back: the libraries that reduce them
/// after backward do, the one that reduces its buckets in place does not.
bool flattens_gradients(const TrainingSpec& training);

}  // namespace vitsim
