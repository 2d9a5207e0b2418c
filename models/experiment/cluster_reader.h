#pragma once

#include "models/document/document_reader.h"
#include "models/experiment/cluster.h"

namespace vitsim {

/// Reads the `cluster` section: nodes expanded by their `count`, names unique, every end of a link
/// known, every node reachable from every other. Mistakes go to the field's problems.
ClusterSpec read_cluster(const Field& field);

/// `{bandwidth, latency}` or `{"profile": name}`.
LinkSpec read_link(const Field& field);

/// Latencies above an hour are slips of the pen.
inline constexpr Seconds kMostLatency{3600};

}  // namespace vitsim
