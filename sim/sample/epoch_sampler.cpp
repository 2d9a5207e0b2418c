#include "sim/sample/epoch_sampler.h"

#include <algorithm>
#include <cmath>

#include "sim/sample/blocking_sampler.h"
#include "sim/sample/simulated_sampler.h"
#include "sim/sample/straggler.h"

namespace vitsim {

std::unique_ptr<EpochSampler> make_epoch_sampler(const ResolvedJob& job,
                                                 const Noise& noise,
                                                 bool every_rank) {
  if (auto blocking = make_blocking_sampler(job, noise)) {
    return blocking;
  }
  return make_simulated_sampler(job, noise, every_rank);
}

std::vector<double> late_shares(const ResolvedJob& job,
                                const std::vector<double>& compute_s,
                                const Noise& noise) {
  constexpr double kWork = 64'000;                // loads: more classes, fewer runs
  const bool one_kind = noise.kind_count() == 1;  // whose factor changes no order
  const std::size_t classes = job.classes.size();
  const int runs =
      noise.is_zero() || one_kind
          ? 1
          : static_cast<int>(std::min(std::clamp(kWork / static_cast<double>(classes), 8.0, 64.0),
                                      static_cast<double>(std::max(1, noise.replicates()))));
  std::vector<double> shares(classes, 0);
  for (int run = 0; run < runs; ++run) {
    std::vector<RankLoad> drawn;
    for (std::size_t of = 0; of < classes; ++of) {
      const double factor = runs == 1 ? 1 : noise.run_factor(noise.kind(of), run);
      drawn.push_back({.seconds = compute_s[of] * factor,
                       .sigma = std::hypot(noise.step_sigma(of), noise.unit_sigma(of)),
                       .count = static_cast<double>(job.classes[of].count)});
    }
    const SlowestOf slowest = slowest_of(drawn, true);
    for (std::size_t of = 0; of < classes; ++of) {
      shares[of] += slowest.late_share[of] / runs;
    }
  }
  return shares;
}

}  // namespace vitsim
