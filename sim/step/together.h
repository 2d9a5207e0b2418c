#pragma once

#include <map>
#include <optional>
#include <tuple>

#include "sim/collective/communicator.h"
#include "sim/step/program.h"

namespace vitsim {

/// What collectives of one group take once the last member has come, where that is the same for
/// all. Each is worked out once. Not thread-safe.
class TogetherTimes {
 public:
  /// `group` must outlive it.
  explicit TogetherTimes(const Communicator& group) : group_(&group) {}

  /// Nothing where members end at different times, or only events can tell.
  std::optional<Tick> at(const Collective& collective);

 private:
  const Communicator* group_;
  std::map<std::tuple<CollectiveKind, Algorithm, std::int64_t>, std::optional<Tick>> known_;
};

}  // namespace vitsim
