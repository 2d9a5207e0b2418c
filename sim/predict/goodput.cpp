#include "sim/predict/goodput.h"

#include <cstddef>
#include <utility>

#include <fmt/format.h>
#include <oneapi/tbb/parallel_for.h>

#include "models/document/quantity_text.h"
#include "models/report/quantiles.h"

namespace vitsim {

FailingRuns::FailingRuns(const ResolvedJob& job,
                         const Experiment& experiment,
                         const CheckpointPlan& checkpoints,
                         std::uint64_t seed)
    : job_(job),
      failures_(experiment.failures),
      checkpoints_(checkpoints),
      given_(given_failures(job, experiment.events)),
      seed_(seed) {
  if (failures_ && failures_->on_failure == OnFailure::kContinue) {
    elastic_.emplace(job, failures_->per, seed);
  }
}

FailureHistory FailingRuns::history(double work_s, int replicate) const {
  FailingRun run = failing_run(job_, failures_, checkpoints_, given_, Seconds(work_s));
  if (elastic_) {
    run.parts = elastic_->parts();
    run.speed = [this](int of, std::int64_t failures) { return (*elastic_)(of, failures); };
  }
  return simulate_failures(run, seed_, replicate);
}

void add_goodput(const ResolvedJob& job,
                 const Experiment& experiment,
                 const std::vector<double>& works,
                 const CheckpointPlan& checkpoints,
                 const PredictOptions& options,
                 bool known,
                 Report& report) {
  const FailingRuns failing(job, experiment, checkpoints, options.seed);
  if (!failing.any()) {
    return;
  }
  if (checkpoints.steps == 0) {
    report.warnings.emplace_back(
        "no checkpoint is written: a failure loses all that was trained; add "
        "training.checkpoint");
  } else if (checkpoint_cost(job.training).value() == 0) {
    report.warnings.emplace_back(
        "checkpoints are taken to cost nothing: give the storage's training.checkpoint.bandwidth");
  }
  const bool random = experiment.failures.has_value();
  const auto count = random ? static_cast<std::size_t>(options.replicates) : works.size();
  std::vector<FailureHistory> histories(count);
  oneapi::tbb::parallel_for(std::size_t{0}, count, [&](std::size_t i) {
    histories[i] = failing.history(works[i % works.size()], static_cast<int>(i));
  });
  Goodput goodput{.checkpoint_every_steps = checkpoints.steps};
  std::vector<double> totals;
  double work_s = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double share = 1 / static_cast<double>(count);
    totals.push_back(histories[i].total.value());
    work_s += share * works[i % works.size()];
    goodput.failures += share * static_cast<double>(histories[i].failures);
    goodput.lost_s += share * histories[i].lost.value();
    goodput.checkpoint_s += share * histories[i].checkpoint.value();
    goodput.restart_s += share * histories[i].restart.value();
  }
  goodput.total_s = quantiles_of(std::move(totals), known);
  goodput.effective_share =
      1 - (goodput.lost_s + goodput.checkpoint_s + goodput.restart_s) / goodput.total_s.mean;
  goodput.checkpoint_every_s = checkpoints.share * work_s;
  report.goodput = goodput;
  // What each given failure costs, where nothing else fails.
  const std::vector<GivenFailure>& given = failing.given();
  FailingRun run = failing_run(job, std::nullopt, checkpoints, given, Seconds(work_s));
  const Seconds with_all = simulate_failures(run, options.seed, 0).total;
  for (std::size_t skipped = 0; skipped < given.size(); ++skipped) {
    run.given = given;
    run.given.erase(run.given.begin() + static_cast<std::ptrdiff_t>(skipped));
    report.disturbances.push_back(
        {.what = fmt::format("a failure at {}", human(given[skipped].at + job.start)),
         .cost_s = (with_all - simulate_failures(run, options.seed, 0).total).value()});
  }
}

}  // namespace vitsim
