#include "sim/step/together.h"

namespace vitsim {

std::optional<Tick> TogetherTimes::at(const Collective& collective) {
  const auto [entry, fresh] =
      known_.try_emplace({collective.kind, collective.algorithm, collective.bytes});
  if (fresh) {
    const auto arrays =
        group_->arrays_or_estimate(collective.kind, collective.algorithm, collective.bytes);
    entry->second = arrays ? arrays->uniform() : std::nullopt;
  }
  return entry->second;
}

}  // namespace vitsim
