#pragma once

#include <nlohmann/json_fwd.hpp>

#include "models/experiment.h"

namespace vitsim {

/// Every parameter of an experiment after defaults, nodes expanded, plain numbers with the unit in
/// the key: the `resolved` of reports and the run directory's resolved.json.
nlohmann::json resolved(const Experiment& experiment);

}  // namespace vitsim
