#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "sim/collective/plan.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// An estimate of the time that an AllReduce over two pipelined trees takes from the last start to
/// the last end. Not exact: trees of a few nodes are simulated and continued to all of them, see
/// tree_estimate.cpp. Within 5 % of the event level where all ranks start together.
///
/// Nothing where the nodes are not joined by one switch each way, i.e. where messages between two
/// nodes cross more than their NICs: what they meet there depends on all of them.
std::optional<Tick> estimated_tree_time(const Network& network,
                                        std::span<const std::int64_t> ranks,
                                        const NodeGroups& nodes,
                                        std::int64_t bytes);

}  // namespace vitsim
