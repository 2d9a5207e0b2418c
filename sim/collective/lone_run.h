#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sim/collective/event_collective.h"
#include "sim/engine/clock.h"
#include "sim/engine/flow_engine.h"

namespace vitsim {

/// Builds the collective that reports to the listener.
using MakeCollective = std::function<std::unique_ptr<EventCollective>(CollectiveListener&)>;

/// Runs one collective that has the engine to itself, and returns the end of every position;
/// `starts` has one entry for each. Throws InternalError where it does not end, naming `what` and
/// what each rank waits for.
std::vector<Tick> run_alone(FlowEngine& engine,
                            std::string_view what,
                            std::span<const Tick> starts,
                            const MakeCollective& make);

}  // namespace vitsim
