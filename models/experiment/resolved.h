#pragma once

#include <nlohmann/json_fwd.hpp>

#include "models/experiment/experiment.h"

namespace vitsim {

/// Every parameter of an experiment after defaults, nodes expanded, plain numbers with the unit in
/// the key: the `resolved` of reports and the run directory's resolved.json.
nlohmann::json resolved(const Experiment& experiment);

/// The same experiment as people write it: quantities as text with units, what is absent left out.
/// Reading it and resolving again gives the same figures. What a DeepSpeed configuration said is
/// in the figures already, so its path is left out.
nlohmann::json as_written(nlohmann::json resolved);

}  // namespace vitsim
