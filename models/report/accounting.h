#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "models/phase.h"
#include "models/report/timeline.h"

namespace vitsim {

/// When one operation of a rank ran in a step, in any unit of time that is the same for all.
struct OperationTime {
  Stream stream = Stream::kCompute;
  Phase phase = Phase::kForward;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  /// Of communication: what it takes when every member joins at once. What it takes beyond that
  /// at its beginning is straggler wait.
  std::int64_t alone = 0;
};

/// Where a rank's step went. The phases on compute and loader, `exposed`, `wait` and `idle` add up
/// to the step.
struct StepAccount {
  std::array<std::int64_t, kPhaseNames.size()> phases{};  // busy; communication as if alone
  std::int64_t communication = 0;  // busy on the communication streams, as if alone
  std::int64_t exposed = 0;        // communication that no compute hides
  std::int64_t wait = 0;           // straggler wait: in a collective, before the last has come
  std::int64_t idle = 0;           // nothing runs: the host's own work

  [[nodiscard]] std::int64_t phase(Phase which) const {
    return phases[static_cast<std::size_t>(which)];
  }

  /// Time on compute and loader.
  [[nodiscard]] std::int64_t compute() const;
};

/// The one accounting of predicted and measured steps. Gaps between a rank's compute (and loading)
/// are communication in its last `alone` part, straggler wait in the part before, idle elsewhere.
/// `operations` of each stream must not overlap among themselves; those of compute and loader must
/// be in order of time. `exposed`, if given, receives what of the exposed communication belongs to
/// each operation; where several communicate at once, to the one that began first.
StepAccount account(std::span<const OperationTime> operations,
                    std::int64_t begin,
                    std::int64_t end,
                    std::vector<std::int64_t>* exposed = nullptr);

}  // namespace vitsim
