#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/report/timeline.h"
#include "models/units.h"
#include "sim/engine/network.h"
#include "sim/step/work.h"

namespace vitsim {

/// One training job: epochs of `steps` optimizer steps, all alike but the last of each epoch, which
/// may be short. A barrier ends an epoch; then come evaluation and checkpoint.
struct JobPlan {
  std::vector<std::int64_t> ranks;  // of the cluster, in ring order
  SyncPlan sync;
  std::vector<RankWork> full;  // by position
  std::vector<RankWork> last;  // by position; empty: like `full`
  std::int64_t steps = 1;      // per epoch, the last one included
  std::int64_t epochs = 1;
  Tick after_epoch = 0;  // for all ranks, after the barrier
  Seconds start;         // after the start of the run
};

/// What goes wrong in time; `from` and `to` count from the start of the run.
struct RunEvent {
  enum class What { kSlowdown, kPause, kLink };
  What what = What::kSlowdown;
  std::int64_t rank = 0;      // slowdown, pause: of the cluster
  double factor = 1;          // slowdown
  std::vector<LinkId> links;  // link: Network::nic_links, Network::trunk_links
  BytesPerSecond bandwidth;   // link: while the event lasts
  Seconds from;
  Seconds to;
};

/// Sums over all steps of a run, of one rank.
struct RankTotals {
  Seconds busy;  // communication, see StepOutcome
  Seconds exposed;
  Seconds wait;
  double late_steps = 0;  // steps in which it was the last to be ready; ties are split
};

struct RunOutcome {
  std::vector<Seconds> epochs;  // from its first step to its barrier, as the slowest rank sees it
  Seconds total;                // from the job's start, evaluation and checkpoints included
  Seconds full_step;  // mean over the run's full steps (all steps but the last of an epoch,
                      // unless it is full too)
  std::vector<RankTotals> ranks;
  std::int64_t steps = 0;
  std::int64_t steps_computed = 0;  // the others repeat them
};

/// The first `steps` steps of a run as a timeline.
struct RunTimeline {
  std::int64_t steps = 0;
  std::vector<Span> spans;  // ranks are the cluster's
};

/// Throws UserError where work, steps and epochs do not fit together.
void check_plan(const JobPlan& job);

/// A job that has the network to itself. Steps that repeat exactly, and epochs that no event
/// touches, are computed once. Throws UserError where the plan is not possible.
RunOutcome simulate_run(const Network& network,
                        const JobPlan& job,
                        std::span<const RunEvent> events = {},
                        RunTimeline* timeline = nullptr);

/// Jobs that share the network, event by event; outcomes in the order of `jobs`. Throws UserError
/// where two jobs share a rank.
std::vector<RunOutcome> simulate_jobs(const Network& network,
                                      std::span<const JobPlan> jobs,
                                      std::span<const RunEvent> events = {});

}  // namespace vitsim
