#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/collective/event_collective.h"
#include "sim/collective/plan.h"

namespace vitsim {

/// Collectives side by side, plan k by NIC number k of every node: a position is done when it is
/// done in all of them. `done` must outlive the result; `collective` is handed back to it.
std::unique_ptr<EventCollective> make_rail_collective(StreamSet& streams,
                                                      std::vector<StagedPlan> plans,
                                                      CollectiveListener& done,
                                                      std::uint32_t collective);

}  // namespace vitsim
