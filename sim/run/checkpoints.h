#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "models/experiment/failures.h"
#include "sim/job/resolved_job.h"
#include "sim/run/failures.h"

namespace vitsim {

/// How a job writes its checkpoints: the file's words as figures.
struct CheckpointPlan {
  Seconds cost;            // what writing one takes
  std::int64_t steps = 0;  // from one to the next; 0: none is written
  std::int64_t count = 0;  // in the whole run
  double share = 0;        // of the run's training from one to the next
  bool is_asynchronous = false;

  /// What they add to the run, where nothing fails.
  [[nodiscard]] Seconds added() const {
    return is_asynchronous ? Seconds(0) : static_cast<double>(count) * cost;
  }
};

/// What writing one checkpoint takes: as specified, or its bytes by the storage's rate; none where
/// the file says neither.
Seconds checkpoint_cost(const TrainingSpec& training);

/// Mean time between failures of all GPUs or nodes of the job; none where nothing fails at random.
std::optional<Seconds> mean_time_between_failures(const ResolvedJob& job,
                                                  const std::optional<FailureSpec>& failures);

/// The checkpoints of a job whose full step and epoch take so long.
CheckpointPlan checkpoint_plan(const ResolvedJob& job,
                               const std::optional<FailureSpec>& failures,
                               Seconds step,
                               Seconds epoch,
                               std::uint64_t seed);

/// The job's run of `work` with its failures; `given` from the file's disturbances.
FailingRun failing_run(const ResolvedJob& job,
                       const std::optional<FailureSpec>& failures,
                       const CheckpointPlan& checkpoints,
                       std::vector<GivenFailure> given,
                       Seconds work);

/// The failures among the file's disturbances that hit one of the job's ranks, in the order of
/// time, counted from the job's start.
std::vector<GivenFailure> given_failures(const ResolvedJob& job,
                                         const std::vector<DisturbanceSpec>& events);

/// Speed of the job without the ranks that failures took, chosen at random by replicate, their
/// micro-batches balanced anew: the slowest rank computes longer, what else a step takes stays.
class ElasticSpeed {
 public:
  /// `job` must outlive it.
  ElasticSpeed(const ResolvedJob& job, FailureUnit per, std::uint64_t seed);
  ElasticSpeed(const ElasticSpeed&) = delete;
  ElasticSpeed& operator=(const ElasticSpeed&) = delete;
  ~ElasticSpeed() = default;

  /// Of many parts all replicates lose the same ones: what the others do averages out.
  [[nodiscard]] double operator()(int replicate, std::int64_t failures) const;

  /// GPUs or nodes that may fail.
  [[nodiscard]] std::int64_t parts() const { return static_cast<std::int64_t>(parts_.size()); }

 private:
  [[nodiscard]] Seconds slowest_of(const std::vector<std::int64_t>& counts) const;
  [[nodiscard]] Seconds compute(std::size_t of, std::int64_t micro_batch) const;

  const ResolvedJob& job_;
  std::uint64_t seed_;
  std::vector<std::vector<std::uint32_t>> parts_;  // positions that fail together
  std::int64_t samples_ = 0;                       // of all ranks in a pass
  std::vector<std::vector<Seconds>> tables_;       // compute by class and micro-batch
  Seconds step_;
  Seconds slowest_;
  mutable std::mutex mutex_;
  mutable std::map<std::vector<std::int64_t>, double> known_;  // speed by ranks left of each class
};

}  // namespace vitsim
