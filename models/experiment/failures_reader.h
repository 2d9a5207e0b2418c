#pragma once

#include <optional>

#include "models/document/document_reader.h"
#include "models/experiment/cluster.h"
#include "models/experiment/failures.h"

namespace vitsim {

/// Reads the `failures` section. Mistakes go to the field's problems.
std::optional<FailureSpec> read_failures(const Field& field);

/// Reads `prices`, and `currency`, `power`, `pue` and `g_co2e_per_kwh`, which stand inside of it or
/// beside it in `root`. Prices must name every GPU of the cluster.
PriceSpec read_prices(ObjectReader& root, const ClusterSpec& cluster);

}  // namespace vitsim
