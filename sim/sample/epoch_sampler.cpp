#include "sim/sample/epoch_sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/sample/blocking_sampler.h"
#include "sim/sample/simulated_sampler.h"
#include "sim/sample/straggler.h"

namespace vitsim {

namespace {

std::unique_ptr<EpochSampler> make_plain_sampler(const ResolvedJob& job,
                                                 const Noise& noise,
                                                 bool every_rank) {
  if (auto blocking = make_blocking_sampler(job, noise)) {
    return blocking;
  }
  return make_simulated_sampler(job, noise, every_rank);
}

/// A run whose steps are of several kinds: every epoch has its share of each. The first kind are
/// the rare ones, the last the usual.
class MixedSampler final : public EpochSampler {
 public:
  MixedSampler(const ResolvedJob& job, const Noise& noise, bool every_rank) : job_(job) {
    for (const RareProgram& rare : job.rare) {
      ResolvedJob mine = job;
      mine.full = rare.full;
      mine.last = rare.last;
      mine.rare.clear();
      add(std::move(mine), noise, every_rank);
    }
    add(job, noise, every_rank);
    const std::int64_t steps = job.plan.steps;
    for (std::int64_t epoch = 0; epoch < job.training.epochs; ++epoch) {
      epoch_shares_.push_back(shares(epoch * steps, (epoch + 1) * steps));
    }
    run_shares_ = shares(0, job.training.epochs * steps);
  }

  [[nodiscard]] SampledRun sample(int replicate) const override {
    SampledRun run;
    run.epoch_s.assign(epoch_shares_.size(), 0);
    for (std::size_t kind = 0; kind < samplers_.size(); ++kind) {
      const SampledRun mine = samplers_[kind]->sample(replicate);
      run.step_s += run_shares_[kind] * mine.step_s;
      for (std::size_t epoch = 0; epoch < run.epoch_s.size(); ++epoch) {
        run.epoch_s[epoch] += epoch_shares_[epoch][kind] * mine.epoch_s[epoch];
      }
    }
    return run;
  }

  [[nodiscard]] TypicalStep typical() const override {
    TypicalStep mean;
    for (std::size_t kind = 0; kind < samplers_.size(); ++kind) {
      const TypicalStep mine = samplers_[kind]->typical();
      const double share = run_shares_[kind];
      mean.step_s += share * mine.step_s;
      mean.classes.resize(mine.classes.size());
      mean.late_share.resize(mine.late_share.size());
      for (std::size_t of = 0; of < mine.classes.size(); ++of) {
        mean.classes[of].add(mine.classes[of], share);
        mean.late_share[of] += share * mine.late_share[of];
      }
      add_rows(mean.communication, mine.communication, share);
    }
    return mean;
  }

  [[nodiscard]] double gain_s(const std::vector<double>& class_factors) const override {
    double gain = 0;
    for (std::size_t kind = 0; kind < samplers_.size(); ++kind) {
      gain += run_shares_[kind] * samplers_[kind]->gain_s(class_factors);
    }
    return gain;
  }

  [[nodiscard]] double rank_gain_s(std::size_t position, double factor) const override {
    double gain = 0;
    for (std::size_t kind = 0; kind < samplers_.size(); ++kind) {
      gain += run_shares_[kind] * samplers_[kind]->rank_gain_s(position, factor);
    }
    return gain;
  }

 private:
  void add(ResolvedJob job, const Noise& noise, bool every_rank) {
    jobs_.push_back(std::make_unique<const ResolvedJob>(std::move(job)));
    samplers_.push_back(make_plain_sampler(*jobs_.back(), noise, every_rank));
  }

  /// Of the steps from `begin` up to `end`, by kind.
  [[nodiscard]] std::vector<double> shares(std::int64_t begin, std::int64_t end) const {
    std::vector<double> found = rare_counts(job_.rare, begin, end);
    double usual = static_cast<double>(end - begin);
    for (double& count : found) {
      usual -= count;
      count /= static_cast<double>(end - begin);
    }
    found.push_back(usual / static_cast<double>(end - begin));
    return found;
  }

  const ResolvedJob& job_;
  std::vector<std::unique_ptr<const ResolvedJob>> jobs_;
  std::vector<std::unique_ptr<EpochSampler>> samplers_;
  std::vector<std::vector<double>> epoch_shares_;  // by epoch and kind
  std::vector<double> run_shares_;                 // by kind
};

}  // namespace

void TypicalRank::add(const TypicalRank& rank, double share) {
  for (std::size_t phase = 0; phase < phase_s.size(); ++phase) {
    phase_s[phase] += share * rank.phase_s[phase];
  }
  compute_s += share * rank.compute_s;
  wait_s += share * rank.wait_s;
  exposed_s += share * rank.exposed_s;
}

std::vector<double> rare_counts(std::span<const RareProgram> rare,
                                std::int64_t begin,
                                std::int64_t end) {
  // The k-th, 2k-th, ... of the steps from `first` up to `to`.
  const auto count = [](std::int64_t first, std::int64_t to, std::int64_t every) {
    return std::max<std::int64_t>(0, to / every - first / every);
  };
  std::vector<double> counts;
  for (std::size_t i = 0; i < rare.size(); ++i) {
    const std::int64_t first = std::max(begin, rare[i].from);
    const std::int64_t to = std::min(end, rare[i].to);
    std::int64_t mine = first < to ? count(first, to, rare[i].every) : 0;
    for (std::size_t k = 0; k < i && mine > 0; ++k) {
      // An earlier kind has those that both claim.
      const std::int64_t from = std::max(first, rare[k].from);
      const std::int64_t until = std::min(to, rare[k].to);
      mine -= from < until ? count(from, until, std::lcm(rare[k].every, rare[i].every)) : 0;
    }
    counts.push_back(static_cast<double>(mine));
  }
  return counts;
}

std::unique_ptr<EpochSampler> make_epoch_sampler(const ResolvedJob& job,
                                                 const Noise& noise,
                                                 bool every_rank) {
  if (!job.rare.empty()) {
    return std::make_unique<MixedSampler>(job, noise, every_rank);
  }
  return make_plain_sampler(job, noise, every_rank);
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
