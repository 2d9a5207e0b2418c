#pragma once

#include <memory>
#include <vector>

#include "sim/job/scenario.h"
#include "sim/sample/noise.h"

namespace vitsim {

/// One sampled real run of a job.
struct SampledRun {
  std::vector<double> epoch_s;  // every epoch, as the slowest rank sees it
  double step_s = 0;            // mean full step
};

/// The typical full step, noise from step to step included.
struct TypicalStep {
  double step_s = 0;
  std::vector<double> ready_s;     // by rank: its own compute until the AllReduce, per step
  std::vector<double> late_share;  // by rank
  std::vector<double> wait_s;      // by rank, for others
  std::vector<double> exposed_s;   // by rank, communication not hidden
  std::vector<double> busy_s;      // by rank, communication
};

/// Draws runs of one job. Two implementations: by integrals where collectives block and take
/// everybody equally long, by simulated steps elsewhere.
class EpochSampler {
 public:
  virtual ~EpochSampler() = default;
  [[nodiscard]] virtual SampledRun sample(int replicate) const = 0;
  [[nodiscard]] virtual TypicalStep typical() const = 0;

  /// Seconds that an epoch would take less were each rank's compute its factor of what it is.
  [[nodiscard]] virtual double gain_s(const std::vector<double>& factors) const = 0;
};

/// `network` must outlive the sampler.
std::unique_ptr<EpochSampler> make_epoch_sampler(const ResolvedExperiment& resolved,
                                                 std::size_t job,
                                                 const Network& network,
                                                 const Noise& noise);

}  // namespace vitsim
