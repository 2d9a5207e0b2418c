#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/report/timeline.h"
#include "models/units.h"
#include "sim/engine/network.h"
#include "sim/step/program.h"
#include "sim/step/rare_program.h"

namespace vitsim {

/// One training job: epochs of `steps` optimizer steps, all alike but the last of each epoch, which
/// may be short. A barrier ends an epoch; then come evaluation and checkpoint.
struct JobPlan {
  std::vector<std::int64_t> ranks;  // of the cluster, in the order of positions
  std::shared_ptr<const StepProgram> full;
  std::shared_ptr<const StepProgram> last;  // none: like `full`
  std::int64_t steps = 1;                   // per epoch, the last one included
  std::int64_t epochs = 1;
  Tick after_epoch = 0;  // for all ranks, after the barrier
  Seconds start;         // after the start of the run
  std::vector<RareProgram> rare;

  /// The program of a step, counted from the start of the job.
  [[nodiscard]] const StepProgram& program(std::int64_t step) const {
    const RareProgram* const kind = rare_kind(rare, step);
    const bool is_last = last != nullptr && (step + 1) % steps == 0;
    return kind == nullptr ? (is_last ? *last : *full) : (is_last ? *kind->last : *kind->full);
  }
};

/// What goes wrong in time; `from` and `to` count from the start of the run.
struct Disturbance {
  enum class What { kSlowdown, kPause, kLink };
  What what = What::kSlowdown;
  std::int64_t rank = 0;      // slowdown, pause: of the cluster
  double factor = 1;          // slowdown
  std::vector<LinkId> links;  // link: Network::nic_links, Network::trunk_links
  BytesPerSecond bandwidth;   // link: while the disturbance lasts
  Seconds from;
  Seconds to;
};

/// Sums over all steps of a run, of one rank.
struct RankTotals {
  Seconds busy;  // communication, as if everybody were ready at once
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

/// Receives the spans of the first `steps` steps of a run; ranks are the cluster's.
struct RunTimeline {
  std::int64_t steps = 0;
  std::vector<Span> spans;
};

/// Throws UserError where programs, steps and epochs do not fit together.
void check_plan(const JobPlan& job);

/// A job that has the network to itself. Steps that repeat exactly, and epochs that no disturbance
/// touches, are computed once. Throws UserError where the plan is not possible.
RunOutcome simulate_run(const Network& network,
                        const JobPlan& job,
                        std::span<const Disturbance> disturbances = {},
                        RunTimeline* timeline = nullptr);

/// Jobs that share the network, message by message; outcomes in the order of `jobs`. Throws
/// UserError where two jobs share a rank. With a timeline, runs end after its steps.
std::vector<RunOutcome> simulate_jobs(const Network& network,
                                      std::span<const JobPlan> jobs,
                                      std::span<const Disturbance> disturbances = {},
                                      RunTimeline* timeline = nullptr);

}  // namespace vitsim
