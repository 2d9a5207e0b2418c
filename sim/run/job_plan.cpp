#include "sim/run/job_plan.h"

namespace vitsim {

namespace {

Disturbance disturbance_of(const DisturbanceSpec& spec, const Network& network) {
  Disturbance disturbance{.rank = spec.rank,
                          .factor = spec.factor,
                          .bandwidth = spec.bandwidth,
                          .from = spec.from,
                          .to = spec.to};
  switch (spec.what) {
    case DisturbanceSpec::What::kSlowdown:
      disturbance.what = Disturbance::What::kSlowdown;
      break;
    case DisturbanceSpec::What::kPause:
      disturbance.what = Disturbance::What::kPause;
      break;
    case DisturbanceSpec::What::kLink:
      disturbance.what = Disturbance::What::kLink;
      disturbance.links = spec.node.empty() ? network.trunk_links(spec.ends[0], spec.ends[1])
                                            : network.nic_links(spec.node);
      break;
    case DisturbanceSpec::What::kFailure:
      break;  // see failures.h
  }
  return disturbance;
}

}  // namespace

JobPlan job_plan(const ResolvedJob& job) {
  return {.ranks = job.ranks(),
          .full = job.full,
          .last = job.last,
          .steps = job.plan.steps,
          .epochs = job.training.epochs,
          .after_epoch = to_ticks(job.epoch_start),
          .start = job.start,
          .rare = job.rare};
}

std::vector<Disturbance> disturbances(const ResolvedExperiment& resolved) {
  std::vector<Disturbance> found;
  for (const DisturbanceSpec& spec : resolved.experiment.events) {
    if (spec.what == DisturbanceSpec::What::kFailure) {
      continue;
    }
    found.push_back(disturbance_of(spec, *resolved.network));
  }
  return found;
}

}  // namespace vitsim
