#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/experiment/experiment.h"

namespace vitsim {

/// What the experiment asks for and no trainer here does, though it can be predicted: one sentence
/// each, with the file in front and a cure. Empty where the experiment can be trained.
std::vector<std::string> why_not_trainable(const Experiment& experiment);

/// Throws UserError with all of them, if there are any.
void require_trainable(const Experiment& experiment);

}  // namespace vitsim
