#pragma once

#include <cstdint>
#include <memory>

#include "sim/collective/event_collective.h"
#include "sim/collective/plan.h"

namespace vitsim {

/// Chunks that travel the trees of a plan, event by event. `done` must outlive the result;
/// `collective` is handed back to it.
std::unique_ptr<EventCollective> make_tree_collective(StreamSet& streams,
                                                      TreePlan plan,
                                                      CollectiveListener& done,
                                                      std::uint32_t collective);

}  // namespace vitsim
