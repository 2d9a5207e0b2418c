#pragma once

#include <string>
#include <vector>

#include "models/experiment/experiment.h"

namespace vitsim {

/// Settings as `--set KEY=VALUE` gives them. Throws UserError that names every one that is none.
std::vector<Override> parse_overrides(const std::vector<std::string>& settings);

}  // namespace vitsim
