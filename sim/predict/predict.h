#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/progress.h"
#include "models/report/report.h"
#include "models/report/timeline.h"
#include "sim/job/resolved_job.h"

namespace vitsim {

struct PredictOptions {
  int replicates = 200;
  std::uint64_t seed = 1;
  bool gains = true;       // what an epoch would gain without each class; sweeps do without
  bool all_ranks = false;  // list every rank, however many they are
  bool picture = false;    // fill in the timeline of a step and the use of links
  Progress progress = {};  // over the sampled runs of a job
};

/// Predicts every job of a resolved experiment: quantiles over new real runs, phases, attribution
/// by class of ranks, memory. The same input and seed give the same report on any number of
/// threads. Throws UserError where nobody says how many samples a data set has, a time overflows
/// the clock or the cluster is not connected.
std::vector<Report> predict(const ResolvedExperiment& resolved, const PredictOptions& options);

/// The first job's run time, failures included, in each of `options.replicates` new runs. `kinds`
/// numbers kinds of GPUs: predictions that number them alike meet the same luck with each kind and
/// with the network, so that they can be compared run by run.
std::vector<double> sampled_totals_s(const ResolvedExperiment& resolved,
                                     const PredictOptions& options,
                                     std::span<const std::string> kinds);

/// The first `steps` steps of every job as timelines, without noise, with all disturbances;
/// checkpoints and failures at given times included.
std::vector<Timeline> trace(const ResolvedExperiment& resolved, std::int64_t steps);

}  // namespace vitsim
