#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/experiment.h"
#include "models/report/report.h"
#include "sim/job/resolved_job.h"
#include "sim/predict/predict.h"
#include "sim/run/checkpoints.h"
#include "sim/run/failures.h"

namespace vitsim {

/// A job's runs with their failures, by their training time. Refers to what it is given.
class FailingRuns {
 public:
  FailingRuns(const ResolvedJob& job,
              const Experiment& experiment,
              const CheckpointPlan& checkpoints,
              std::uint64_t seed);

  /// Whether anything can fail.
  [[nodiscard]] bool any() const { return failures_ || !given_.empty(); }

  /// Failures at times that the file names.
  [[nodiscard]] const std::vector<GivenFailure>& given() const { return given_; }

  /// What happens to run number `replicate`, which trains for `work_s` seconds.
  [[nodiscard]] FailureHistory history(double work_s, int replicate) const;

 private:
  const ResolvedJob& job_;
  const std::optional<FailureSpec>& failures_;
  const CheckpointPlan& checkpoints_;
  std::vector<GivenFailure> given_;
  std::uint64_t seed_;
  std::optional<ElasticSpeed> elastic_;
};

/// Adds to a report what failures take of a run and what each named one costs; nothing where
/// nothing fails. `works`: seconds of the sampled runs, without checkpoints. Quantiles only where
/// the spread between runs is `known`.
void add_goodput(const ResolvedJob& job,
                 const Experiment& experiment,
                 const std::vector<double>& works,
                 const CheckpointPlan& checkpoints,
                 const PredictOptions& options,
                 bool known,
                 Report& report);

}  // namespace vitsim
