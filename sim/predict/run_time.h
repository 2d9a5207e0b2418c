#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/report/report.h"
#include "sim/job/resolved_job.h"
#include "sim/run/checkpoints.h"

namespace vitsim {

/// What one evaluation takes, a pass over the test set after each epoch; 0 where there is none.
Seconds evaluation_time(const ResolvedJob& job);

/// What the report must say of how evaluations are charged; empty where nothing.
std::string evaluation_note(const ResolvedJob& job);

/// What one rank holds at the peak of a step.
RankMemory memory_of(const ResolvedJob& job, const RankClass& ranks);

/// Price and energy of a run of the job that takes so long.
std::optional<RunCost> cost_of(const ResolvedJob& job, const PriceSpec& prices, Seconds total);

/// A prediction without noise: the median step where nothing varies. Much cheaper than `predict`.
struct PlainPrediction {
  Seconds step;
  Seconds epoch;
  Seconds total;  // evaluation, checkpoints and failures on average included
  std::optional<RunCost> cost;
  bool fits = true;  // every rank in its memory
};

/// The checkpoints of a job whose steps take as long as they do without noise.
CheckpointPlan plain_checkpoints(const ResolvedExperiment& resolved, std::size_t job);

/// Checkpoints of a file with "auto" come at the interval that Daly's estimate gives.
PlainPrediction predict_plainly(const ResolvedExperiment& resolved);

}  // namespace vitsim
