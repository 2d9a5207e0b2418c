#pragma once

#include <optional>
#include <span>
#include <vector>

#include "sim/collective/communicator.h"
#include "sim/step/work.h"

namespace vitsim {

/// One collective of a step.
struct SyncCall {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  Algorithm algorithm = Algorithm::kRing;
  std::int64_t bytes = 0;
  double ready_share = 1;  // of the last backward
};

/// The collectives of a step in the order of the communication stream: `reductions` before the
/// optimizer, `gathers` after it (ZeRO-1). Buckets without bytes and groups of one make none.
struct SyncCalls {
  std::vector<SyncCall> reductions;
  std::vector<SyncCall> gathers;
};

SyncCalls sync_calls(const SyncPlan& plan, const Communicator& group);

/// The collectives of a step by arrays, where that is exact for each of them.
class ArraySync {
 public:
  /// Nothing where some call needs events.
  static std::optional<ArraySync> make(const Communicator& group,
                                       const SyncCalls& calls,
                                       Tick overhead);

  /// begins[i]: when position i's communication stream takes up the call; the overhead comes first.
  void reduce(std::size_t call, std::span<const Tick> begins, std::span<Tick> ends) {
    run(reductions_[call], begins, ends);
  }

  void gather(std::size_t call, std::span<const Tick> begins, std::span<Tick> ends) {
    run(gathers_[call], begins, ends);
  }

 private:
  void run(ArrayCollective& collective, std::span<const Tick> begins, std::span<Tick> ends);

  std::vector<ArrayCollective> reductions_;
  std::vector<ArrayCollective> gathers_;
  Tick overhead_ = 0;
};

}  // namespace vitsim
