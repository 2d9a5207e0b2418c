// Steps that overlap compute and communication, or cross unequal links, are simulated. How the step
// answers to the run's factors is read off one-sided differences, since a maximum has a kink at the
// typical run; how it answers to single GPUs and steps is sampled over a bounded number of chains
// of steps. In clusters too large for that the slowest rank stands for all: by how much it is
// slower than its class follows from the distribution of a maximum (straggler.h), and the step is
// simulated with everybody that much slower.
#include "sim/sample/simulated_sampler.h"

#include <algorithm>
#include <cmath>

#include "sim/sample/step_model.h"
#include "sim/sample/straggler.h"

namespace vitsim {

namespace {

constexpr std::size_t kMostRanksByChains = 2048;
constexpr std::size_t kMostAccounted = 2048;  // ranks of a class
constexpr double kMostWorkByChains = 4e6;     // operations of all ranks in a step

TypicalRank typical_rank(const StepAccount& account) {
  TypicalRank rank{.compute_s = to_seconds(account.compute()).value(),
                   .wait_s = to_seconds(account.wait + account.idle).value(),
                   .exposed_s = to_seconds(account.exposed).value()};
  for (std::size_t phase = 0; phase < rank.phase_s.size(); ++phase) {
    rank.phase_s[phase] = to_seconds(account.phases[phase]).value();
  }
  return rank;
}

class SimulatedSampler final : public EpochSampler {
 public:
  SimulatedSampler(const ResolvedJob& job, const Noise& noise, bool every_rank)
      : job_(job), noise_(noise), model_(job) {
    plain_s_ = model_.step_s();
    find_typical(every_rank);
    short_share_ = job_.last == nullptr ? 0 : model_.short_step_s() / plain_s_;
    if (!noise_.is_zero()) {
      learn_factors();
      learn_scatter();
    }
    add_noise_to_typical();
  }

  [[nodiscard]] SampledRun sample(int replicate) const override {
    double step = plain_s_;
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
      step += kinds_[kind].shift(std::log(noise_.run_factor(kind, replicate)));
    }
    step += network_.shift(std::log(noise_.network_factor(replicate)));
    double scatter = 0;
    if (!scatters_.empty()) {
      const StepModel::Scatter& seen =
          scatters_[static_cast<std::size_t>(replicate) % scatters_.size()];
      step *= seen.mean_s / plain_s_;
      scatter = seen.sigma_s;
    }
    step = std::max(step, 0.0);
    SampledRun run{.epoch_s = {}, .step_s = step};
    const auto steps = static_cast<double>(job_.full_steps());
    for (std::int64_t epoch = 0; epoch < job_.training.epochs; ++epoch) {
      const double drift =
          scatter == 0 ? 0 : std::sqrt(steps) * scatter * noise_.epoch_scatter(replicate, epoch);
      run.epoch_s.push_back((steps + short_share_) * step + drift + job_.epoch_start.value());
    }
    return run;
  }

  [[nodiscard]] TypicalStep typical() const override { return typical_; }

  [[nodiscard]] double gain_s(const std::vector<double>& class_factors) const override {
    return steps_per_epoch() * (plain_s_ - model_.step_s(class_factors));
  }

  [[nodiscard]] double rank_gain_s(std::size_t position, double factor) const override {
    return steps_per_epoch() * (plain_s_ - model_.step_with_rank_s(position, factor));
  }

 private:
  // How the step answers to a small change of a logarithm, upwards and downwards.
  struct Response {
    double up = 0;
    double down = 0;

    [[nodiscard]] double shift(double x) const { return x > 0 ? up * x : down * x; }
  };

  [[nodiscard]] double steps_per_epoch() const {
    return static_cast<double>(job_.full_steps()) + short_share_;
  }

  void find_typical(bool every_rank) {
    const StepModel::Settled settled =
        every_rank ? model_.settled() : model_.settled(kMostAccounted);
    std::vector<double> accounted(job_.classes.size(), 0);
    for (const std::uint32_t position : settled.positions) {
      accounted[model_.class_of(position)] += 1;
    }
    typical_.step_s = plain_s_;
    typical_.classes.resize(job_.classes.size());
    ready_s_.assign(job_.classes.size(), 0);
    for (std::size_t i = 0; i < settled.accounts.size(); ++i) {
      const RankAccount& account = settled.accounts[i];
      const std::size_t of = model_.class_of(settled.positions[i]);
      const double share = 1 / accounted[of];
      const TypicalRank rank = typical_rank(account.step);
      typical_.classes[of].add(rank, share);
      ready_s_[of] += share * std::max(0.0, to_seconds(account.ready - settled.begin).value());
      if (!model_.by_classes() && settled.positions.size() == job_.world_size()) {
        typical_.ranks.push_back(rank);
      }
    }
    typical_.communication = settled.communication;
    typical_.late_share = late_shares(job_, ready_s_, noise_);
  }

  // What noise adds to the plain step is time in which ranks wait for the slowest.
  void add_noise_to_typical() {
    const double more = std::max(0.0, typical_.step_s - plain_s_);
    for (TypicalRank& rank : typical_.classes) {
      rank.wait_s += more;
    }
    for (TypicalRank& rank : typical_.ranks) {
      rank.wait_s += more;
    }
  }

  void learn_factors() {
    constexpr double kLeast = 0.002;
    for (std::size_t kind = 0; kind < noise_.kind_count(); ++kind) {
      const double h = std::max(noise_.run_sigma(kind), kLeast);
      const auto at = [&](double x) {
        std::vector<double> factors;
        for (std::size_t of = 0; of < job_.classes.size(); ++of) {
          factors.push_back(noise_.kind(of) == kind ? std::exp(x) : 1.0);
        }
        return model_.step_s(factors);
      };
      kinds_.push_back(noise_.run_sigma(kind) == 0 ? Response{}
                                                   : Response{.up = (at(h) - plain_s_) / h,
                                                              .down = (plain_s_ - at(-h)) / h});
    }
    if (noise_.network_sigma() > 0) {
      const double h = std::max(noise_.network_sigma(), kLeast);
      network_ = {.up = (model_.step_on_slower_network_s(std::exp(h)) - plain_s_) / h,
                  .down = (plain_s_ - model_.step_on_slower_network_s(std::exp(-h))) / h};
    }
  }

  // Chains with every GPU's own factor and every step's: their means and scatters are what runs
  // draw from. The number of chains is bounded by work, not by time, so that results do not depend
  // on the machine.
  void learn_scatter() {
    bool any = false;
    for (std::size_t of = 0; of < job_.classes.size(); ++of) {
      any |= noise_.step_sigma(of) > 0 || noise_.unit_sigma(of) > 0;
    }
    if (!any) {
      return;
    }
    const double work =
        static_cast<double>(job_.world_size()) * static_cast<double>(job_.full->most_operations());
    if (job_.world_size() > kMostRanksByChains || work > kMostWorkByChains) {
      scatters_.push_back(scatter_of_many());
    } else {
      constexpr int kProbedSteps = 4;
      const double calls = static_cast<double>(job_.world_size()) * std::max(1.0, collectives()) *
                           (model_.by_events() ? 100 : 1);
      const int chains = static_cast<int>(std::clamp(1e5 / calls, 3.0, 6.0));
      for (int index = 0; index < chains; ++index) {
        scatters_.push_back(model_.scatter(
            [&](int step) {
              std::vector<double> factors(job_.world_size());
              for (std::size_t i = 0; i < factors.size(); ++i) {
                const std::size_t of = job_.class_of[i];
                factors[i] =
                    noise_.unit_factor(of, i, index) * noise_.step_factor(of, i, index, step);
              }
              return factors;
            },
            kProbedSteps));
      }
    }
    double mean = 0;
    for (const StepModel::Scatter& seen : scatters_) {
      mean += seen.mean_s / static_cast<double>(scatters_.size());
    }
    typical_.step_s = mean;
  }

  [[nodiscard]] double collectives() const {
    double count = 0;
    for (const Operation& operation : job_.full->classes.front().operations) {
      count += operation.compute() == nullptr ? 1 : 0;
    }
    return count;
  }

  [[nodiscard]] StepModel::Scatter scatter_of_many() const {
    std::vector<RankLoad> loads;
    double quiet = 0;
    for (std::size_t of = 0; of < job_.classes.size(); ++of) {
      const double seconds = typical_.classes[of].compute_s;
      quiet = std::max(quiet, seconds);
      loads.push_back({.seconds = seconds,
                       .sigma = std::hypot(noise_.step_sigma(of), noise_.unit_sigma(of)),
                       .count = static_cast<double>(job_.classes[of].count)});
    }
    if (quiet == 0) {
      return {.mean_s = plain_s_, .sigma_s = 0};
    }
    const SlowestOf slowest = slowest_of(loads, false);
    const double slower = slowest.mean_s / quiet;
    const double mean = model_.step_s(std::vector<double>(job_.classes.size(), slower));
    return {
        .mean_s = mean,
        .sigma_s = slower > 1 ? slowest.sigma_s * (mean - plain_s_) / (slowest.mean_s - quiet) : 0};
  }

  const ResolvedJob& job_;
  const Noise& noise_;
  StepModel model_;
  double plain_s_ = 0;
  TypicalStep typical_;
  std::vector<double> ready_s_;  // by class
  double short_share_ = 0;
  std::vector<Response> kinds_;
  Response network_;
  std::vector<StepModel::Scatter> scatters_;
};

}  // namespace

std::unique_ptr<EpochSampler> make_simulated_sampler(const ResolvedJob& job,
                                                     const Noise& noise,
                                                     bool every_rank) {
  return std::make_unique<SimulatedSampler>(job, noise, every_rank);
}

}  // namespace vitsim
