#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "models/phase.h"
#include "models/report/communication.h"
#include "sim/job/resolved_job.h"
#include "sim/sample/noise.h"

namespace vitsim {

/// One sampled real run of a job.
struct SampledRun {
  std::vector<double> epoch_s;  // every epoch, as the slowest rank sees it
  double step_s = 0;            // mean full step
};

/// Where the typical full step of one rank, or of one class on average, goes. The compute phases,
/// `exposed_s` and `wait_s` add up to the step.
struct TypicalRank {
  std::array<double, kPhaseNames.size()> phase_s{};  // busy; communication as if alone
  double compute_s = 0;                              // compute and loading
  double wait_s = 0;                                 // for stragglers
  double exposed_s = 0;                              // communication that is not hidden

  /// Adds a share of another one.
  void add(const TypicalRank& rank, double share);
};

/// The typical full step, noise from step to step included.
struct TypicalStep {
  double step_s = 0;
  std::vector<TypicalRank> classes;  // by class of the job
  std::vector<double> late_share;    // by class: steps in which one of its ranks is the last
  std::vector<TypicalRank> ranks;    // by position where ranks of a class differ; else empty
  std::vector<CommunicationRow> communication;  // mean over ranks
};

/// Draws runs of one job. Two implementations: by integrals where collectives block and take
/// everybody equally long, by simulated steps elsewhere.
class EpochSampler {
 public:
  virtual ~EpochSampler() = default;
  [[nodiscard]] virtual SampledRun sample(int replicate) const = 0;
  [[nodiscard]] virtual TypicalStep typical() const = 0;

  /// Seconds that an epoch would take less were the compute of each class its factor of what it is.
  [[nodiscard]] virtual double gain_s(const std::vector<double>& class_factors) const = 0;

  /// The same for one rank alone.
  [[nodiscard]] virtual double rank_gain_s(std::size_t position, double factor) const = 0;
};

/// `job` and `noise` must outlive the sampler. With `every_rank` the typical step knows each rank
/// of a large cluster by itself; without, its classes' means come from some thousands of ranks.
std::unique_ptr<EpochSampler> make_epoch_sampler(const ResolvedJob& job,
                                                 const Noise& noise,
                                                 bool every_rank = false);

/// How many of the steps from `begin` up to `end` of a run are of each kind of rare steps.
std::vector<double> rare_counts(std::span<const RareProgram> rare,
                                std::int64_t begin,
                                std::int64_t end);

/// How often a rank of each class is last, over the steps of new runs: kinds of GPUs differ from
/// their profiles by run, GPUs from their kind, steps from each other. `compute_s` by class.
std::vector<double> late_shares(const ResolvedJob& job,
                                const std::vector<double>& compute_s,
                                const Noise& noise);

}  // namespace vitsim
