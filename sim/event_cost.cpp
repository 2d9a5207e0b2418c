#include "sim/event_cost.h"

namespace vitsim {

EventEffect event_effect(const ResolvedExperiment& resolved, std::size_t, const Network&) {
  if (resolved.experiment.events.empty()) {
    return {};
  }
  return {};
}

}  // namespace vitsim
