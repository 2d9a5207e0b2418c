#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "sim/collective/event_collective.h"
#include "sim/collective/plan.h"

namespace vitsim {

/// Ranks that walk through the stages of a plan, event by event. `done` must outlive the result;
/// `collective` is handed back to it. With a `rail` all messages between nodes go by that NIC.
std::unique_ptr<EventCollective> make_staged_collective(StreamSet& streams,
                                                        StagedPlan plan,
                                                        CollectiveListener& done,
                                                        std::uint32_t collective,
                                                        std::optional<std::uint32_t> rail = {});

}  // namespace vitsim
