// Sampling real runs of one job.
//
// A run has factors of its own: one on each kind of GPU, one on the network, one on each GPU.
// Inside the run every rank's step varies. Where collectives block and take everybody equally long,
// a step is the slowest rank's compute plus the collectives, so its mean and its scatter follow
// from the distribution of a maximum (straggler.h), and an epoch of n steps is normal about n
// means, with sqrt(n) scatters: drawn at once instead of step by step and rank by rank. A test
// holds both equal.
//
// Elsewhere (overlap, unequal links) steps are simulated. How the step answers to the run's factors
// is read off one-sided differences, since a maximum has a kink at the typical run; how it answers
// to single GPUs and steps is sampled over a bounded number of chains of steps.
#include "sim/sample/epoch_sampler.h"

#include <algorithm>
#include <cmath>

#include "sim/job/step_time.h"
#include "sim/sample/straggler.h"

namespace vitsim {

namespace {

Seconds loader_start(const Scenario& scenario) {
  Seconds start;
  for (const ScenarioRank& rank : scenario.ranks) {
    start = std::max(start, rank.compute->epoch_start);
  }
  return start;
}

// Full steps and short ones of an epoch.
struct StepCounts {
  std::int64_t full = 0;
  std::int64_t short_last = 0;  // 0 or 1
};

StepCounts count_steps(const EpochPlan& plan) {
  const std::int64_t last = plan.last_is_short() ? 1 : 0;
  return {.full = plan.steps - last, .short_last = last};
}

// How often each rank is last, over the steps of new runs: kinds of GPUs differ from their profiles
// by run, GPUs from their kind. What a rank's factors scale is its load.
std::vector<double> late_shares(const std::vector<RankLoad>& loads, const Noise& noise) {
  constexpr double kWork = 64'000;                // loads: more ranks, fewer runs
  const bool one_kind = noise.kind_count() == 1;  // whose factor changes no order
  const int runs = noise.is_zero() || one_kind
                       ? 1
                       : static_cast<int>(std::min(
                             std::clamp(kWork / static_cast<double>(loads.size()), 8.0, 64.0),
                             static_cast<double>(std::max(1, noise.replicates()))));
  std::vector<double> shares(loads.size(), 0);
  for (int run = 0; run < runs; ++run) {
    std::vector<RankLoad> drawn = loads;
    for (std::size_t rank = 0; rank < loads.size(); ++rank) {
      drawn[rank].sigma = std::hypot(noise.step_sigma(rank), noise.unit_sigma(rank));
      drawn[rank].seconds *= runs == 1 ? 1 : noise.run_factor(noise.kind(rank), run);
    }
    const SlowestOf slowest = slowest_of(drawn, true);
    for (std::size_t rank = 0; rank < loads.size(); ++rank) {
      shares[rank] += slowest.late_share[rank] / runs;
    }
  }
  return shares;
}

class BlockingSampler final : public EpochSampler {
 public:
  BlockingSampler(const Scenario& scenario, const Noise& noise, const BlockingSync& sync)
      : scenario_(scenario),
        noise_(noise),
        sync_(sync),
        full_(rank_compute(scenario, scenario.plan.full)),
        last_(rank_compute(scenario, scenario.plan.last)),
        counts_(count_steps(scenario.plan)),
        start_s_(loader_start(scenario).value()) {}

  [[nodiscard]] SampledRun sample(int replicate) const override {
    const double network = noise_.network_factor(replicate);
    std::vector<double> kinds(noise_.kind_count());
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
      kinds[kind] = noise_.run_factor(kind, replicate);
    }
    std::vector<double> factors(scenario_.ranks.size());
    for (std::size_t rank = 0; rank < factors.size(); ++rank) {
      factors[rank] = kinds[noise_.kind(rank)] * noise_.unit_factor(rank, replicate);
    }
    const Step full = step(full_, factors, network);
    const double last = counts_.short_last > 0 ? step(last_, factors, network).mean_s : 0;
    SampledRun run{.epoch_s = {}, .step_s = full.mean_s};
    const auto steps = static_cast<double>(counts_.full);
    for (std::int64_t epoch = 0; epoch < scenario_.training.epochs; ++epoch) {
      const double scatter = full.sigma_s == 0 ? 0
                                               : std::sqrt(steps) * full.sigma_s *
                                                     noise_.epoch_scatter(replicate, epoch);
      run.epoch_s.push_back(steps * full.mean_s + scatter + last + start_s_);
    }
    return run;
  }

  [[nodiscard]] TypicalStep typical() const override {
    const std::vector<double> factors(scenario_.ranks.size(), 1.0);
    std::vector<RankLoad> loads = loads_of(full_, factors);
    const double after = gathered(full_, factors);
    TypicalStep step{
        .step_s = slowest_of(loads, false).mean_s + after + sync_.reduce_s + sync_.gather_s,
        .late_share = late_shares(loads, noise_)};
    const double communication = sync_.reduce_s + sync_.gather_s;
    for (std::size_t rank = 0; rank < loads.size(); ++rank) {
      step.ready_s.push_back(full_[rank].before_s + full_[rank].optimizer_s + full_[rank].other_s);
      step.wait_s.push_back(std::max(0.0, step.step_s - communication - step.ready_s.back()));
      step.exposed_s.push_back(communication);
      step.busy_s.push_back(communication);
    }
    return step;
  }

  [[nodiscard]] double gain_s(const std::vector<double>& factors) const override {
    const auto epoch = [&](const std::vector<double>& by_rank) {
      return static_cast<double>(counts_.full) * step(full_, by_rank, 1).mean_s +
             static_cast<double>(counts_.short_last) * step(last_, by_rank, 1).mean_s;
    };
    return epoch(std::vector<double>(factors.size(), 1.0)) - epoch(factors);
  }

 private:
  struct Step {
    double mean_s = 0;
    double sigma_s = 0;
  };

  [[nodiscard]] bool is_sharded() const {
    return scenario_.training.gradient_sync == GradientSync::kDeepspeedZero1;
  }

  // What the first collective of a step waits for. ZeRO-1 updates between its collectives.
  [[nodiscard]] std::vector<RankLoad> loads_of(const std::vector<RankCompute>& compute,
                                               const std::vector<double>& factors) const {
    std::vector<RankLoad> loads;
    loads.reserve(compute.size());
    for (std::size_t rank = 0; rank < compute.size(); ++rank) {
      const RankCompute& own = compute[rank];
      const double seconds = own.before_s + own.other_s + (is_sharded() ? 0 : own.optimizer_s);
      loads.push_back({seconds * factors[rank], noise_.step_sigma(rank)});
    }
    return loads;
  }

  // The slowest update where a second collective waits for it.
  [[nodiscard]] double gathered(const std::vector<RankCompute>& compute,
                                const std::vector<double>& factors) const {
    double slowest = 0;
    for (std::size_t rank = 0; is_sharded() && rank < compute.size(); ++rank) {
      slowest = std::max(slowest, compute[rank].optimizer_s * factors[rank]);
    }
    return slowest;
  }

  [[nodiscard]] Step step(const std::vector<RankCompute>& compute,
                          const std::vector<double>& factors,
                          double network) const {
    const SlowestOf slowest = slowest_of(loads_of(compute, factors), false);
    return {.mean_s = slowest.mean_s + gathered(compute, factors) +
                      network * (sync_.reduce_s + sync_.gather_s),
            .sigma_s = slowest.sigma_s};
  }

  const Scenario& scenario_;
  const Noise& noise_;
  BlockingSync sync_;
  std::vector<RankCompute> full_;
  std::vector<RankCompute> last_;
  StepCounts counts_;
  double start_s_;
};

// Chains of simulated steps.
class SimulatedSampler final : public EpochSampler {
 public:
  SimulatedSampler(const ResolvedExperiment& resolved,
                   std::size_t job,
                   const Network& network,
                   const Noise& noise)
      : resolved_(resolved),
        scenario_(resolved.jobs[job]),
        noise_(noise),
        counts_(count_steps(scenario_.plan)),
        start_s_(loader_start(scenario_).value()) {
    for (const ScenarioRank& rank : scenario_.ranks) {
      cluster_ranks_.push_back(rank.cluster_rank);
    }
    simulator_ = std::make_unique<StepSimulator>(network, cluster_ranks_, sync_plan(scenario_));
    plain_ = chain(*simulator_, {}, kWarmUp, kMeasured);
    typical_ = last_outcome(*simulator_);
    typical_.step_s = plain_.mean_s;
    short_share_ = counts_.short_last == 0 ? 0 : short_step() / plain_.mean_s;
    if (!noise_.is_zero()) {
      learn_factors();
      learn_scatter();
    }
  }

  [[nodiscard]] SampledRun sample(int replicate) const override {
    double step = plain_.mean_s;
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
      step += kinds_[kind].shift(std::log(noise_.run_factor(kind, replicate)));
    }
    step += network_.shift(std::log(noise_.network_factor(replicate)));
    double scatter = 0;
    if (!scatters_.empty()) {
      const Chain& seen = scatters_[static_cast<std::size_t>(replicate) % scatters_.size()];
      step *= seen.mean_s / plain_.mean_s;
      scatter = seen.sigma_s;
    }
    step = std::max(step, 0.0);
    SampledRun run{.epoch_s = {}, .step_s = step};
    const auto steps = static_cast<double>(counts_.full);
    for (std::int64_t epoch = 0; epoch < scenario_.training.epochs; ++epoch) {
      const double drift =
          scatter == 0 ? 0 : std::sqrt(steps) * scatter * noise_.epoch_scatter(replicate, epoch);
      run.epoch_s.push_back((steps + short_share_) * step + drift + start_s_);
    }
    return run;
  }

  [[nodiscard]] TypicalStep typical() const override { return typical_; }

  [[nodiscard]] double gain_s(const std::vector<double>& factors) const override {
    const double faster = chain(*simulator_, factors, kWarmUp, 1).mean_s;
    return (static_cast<double>(counts_.full) + short_share_) * (plain_.mean_s - faster);
  }

 private:
  static constexpr int kWarmUp = 3;
  static constexpr int kMeasured = 4;

  struct Chain {
    double mean_s = 0;
    double sigma_s = 0;
  };

  // How the step answers to a small change of a logarithm, upwards and downwards.
  struct Response {
    double up = 0;
    double down = 0;

    [[nodiscard]] double shift(double x) const { return x > 0 ? up * x : down * x; }
  };

  // Mean full step once the ranks' offsets have settled.
  Chain chain(StepSimulator& simulator,
              const std::vector<double>& factors,
              int warm_up,
              int measured) const {
    const StepWork work(scenario_, scenario_.plan.full, factors);
    std::vector<Tick> starts(scenario_.ranks.size(), 0);
    Tick begin = 0;
    for (int step = 0; step < warm_up + measured; ++step) {
      if (step == warm_up) {
        begin = *std::ranges::max_element(starts);
      }
      const StepOutcome& outcome = simulator.run(work.ranks(), starts);
      std::ranges::copy(outcome.end, starts.begin());
    }
    const Tick end = *std::ranges::max_element(starts);
    return {.mean_s = to_seconds(end - begin).value() / measured, .sigma_s = 0};
  }

  // The short last step after a full one.
  [[nodiscard]] double short_step() const {
    const StepWork full(scenario_, scenario_.plan.full);
    const StepWork last(scenario_, scenario_.plan.last);
    std::vector<Tick> starts(scenario_.ranks.size(), 0);
    for (int step = 0; step < kWarmUp; ++step) {
      std::ranges::copy(simulator_->run(full.ranks(), starts).end, starts.begin());
    }
    const Tick begin = *std::ranges::max_element(starts);
    const StepOutcome& outcome = simulator_->run(last.ranks(), starts);
    return to_seconds(*std::ranges::max_element(outcome.end) - begin).value();
  }

  TypicalStep last_outcome(StepSimulator& simulator) const {
    const StepWork work(scenario_, scenario_.plan.full);
    std::vector<Tick> starts(scenario_.ranks.size(), 0);
    for (int step = 0; step < kWarmUp; ++step) {
      std::ranges::copy(simulator.run(work.ranks(), starts).end, starts.begin());
    }
    const Tick begin = *std::ranges::max_element(starts);
    const StepOutcome outcome = simulator.run(work.ranks(), starts);
    const auto compute = rank_compute(scenario_, scenario_.plan.full);
    TypicalStep step;
    std::vector<RankLoad> loads;
    loads.reserve(compute.size());
    for (std::size_t rank = 0; rank < compute.size(); ++rank) {
      loads.push_back({.seconds = std::max(0.0, to_seconds(outcome.ready[rank] - begin).value())});
      step.ready_s.push_back(compute[rank].before_s + compute[rank].optimizer_s +
                             compute[rank].other_s);
      step.wait_s.push_back(to_seconds(outcome.wait[rank]).value());
      step.exposed_s.push_back(to_seconds(outcome.exposed[rank]).value());
      step.busy_s.push_back(to_seconds(outcome.busy[rank]).value());
    }
    step.late_share = late_shares(loads, noise_);
    return step;
  }

  void learn_factors() {
    constexpr double kLeast = 0.002;
    for (std::size_t kind = 0; kind < noise_.kind_count(); ++kind) {
      const double h = std::max(noise_.run_sigma(kind), kLeast);
      const auto at = [&](double x) {
        std::vector<double> factors;
        for (std::size_t rank = 0; rank < scenario_.ranks.size(); ++rank) {
          factors.push_back(noise_.kind(rank) == kind ? std::exp(x) : 1.0);
        }
        return chain(*simulator_, factors, kWarmUp, 1).mean_s;
      };
      kinds_.push_back(
          noise_.run_sigma(kind) == 0
              ? Response{}
              : Response{.up = (at(h) - plain_.mean_s) / h, .down = (plain_.mean_s - at(-h)) / h});
    }
    if (noise_.network_sigma() > 0) {
      const double h = std::max(noise_.network_sigma(), kLeast);
      const auto at = [&](double x) {
        const Network network(slowed(resolved_.network, std::exp(x)));
        StepSimulator simulator(network, cluster_ranks_, sync_plan(scenario_));
        return chain(simulator, {}, kWarmUp, 1).mean_s;
      };
      network_ = {.up = (at(h) - plain_.mean_s) / h, .down = (plain_.mean_s - at(-h)) / h};
    }
  }

  // Chains with every GPU's own factor and every step's: their means and scatters are what runs
  // draw from. The number of chains is bounded by work, not by time, so that results do not depend
  // on the machine.
  void learn_scatter() {
    bool any = false;
    for (std::size_t rank = 0; rank < scenario_.ranks.size(); ++rank) {
      any |= noise_.step_sigma(rank) > 0 || noise_.unit_factor(rank, 0) != 1;
    }
    if (!any) {
      return;
    }
    constexpr int kSteps = 4;
    const double calls = static_cast<double>(simulator_->plan().buckets.size());
    const double work = static_cast<double>(scenario_.ranks.size()) * std::max(1.0, calls) *
                        (simulator_->by_arrays() ? 1 : 100);
    const int chains = static_cast<int>(std::clamp(1e5 / work, 3.0, 6.0));
    for (int index = 0; index < chains; ++index) {
      std::vector<Tick> starts(scenario_.ranks.size(), 0);
      std::vector<double> factors(scenario_.ranks.size());
      std::vector<double> steps;
      Tick before = 0;
      for (int step = 0; step < kWarmUp + kSteps; ++step) {
        for (std::size_t rank = 0; rank < factors.size(); ++rank) {
          factors[rank] = noise_.unit_factor(rank, index) * noise_.step_factor(rank, index, step);
        }
        const StepWork noisy(scenario_, scenario_.plan.full, factors);
        const StepOutcome& outcome = simulator_->run(noisy.ranks(), starts);
        const Tick now = *std::ranges::max_element(outcome.end);
        if (step >= kWarmUp) {
          steps.push_back(to_seconds(now - before).value());
        }
        before = now;
        std::ranges::copy(outcome.end, starts.begin());
      }
      Chain seen;
      for (const double step : steps) {
        seen.mean_s += step / kSteps;
      }
      for (const double step : steps) {
        seen.sigma_s += (step - seen.mean_s) * (step - seen.mean_s) / (kSteps - 1);
      }
      seen.sigma_s = std::sqrt(seen.sigma_s);
      scatters_.push_back(seen);
    }
    double mean = 0;
    for (const Chain& seen : scatters_) {
      mean += seen.mean_s / static_cast<double>(scatters_.size());
    }
    typical_.step_s = mean;
  }

  const ResolvedExperiment& resolved_;
  const Scenario& scenario_;
  const Noise& noise_;
  StepCounts counts_;
  double start_s_;
  std::vector<std::int64_t> cluster_ranks_;
  std::unique_ptr<StepSimulator> simulator_;
  Chain plain_;
  TypicalStep typical_;
  double short_share_ = 0;
  std::vector<Response> kinds_;
  Response network_;
  std::vector<Chain> scatters_;
};

}  // namespace

std::unique_ptr<EpochSampler> make_epoch_sampler(const ResolvedExperiment& resolved,
                                                 std::size_t job,
                                                 const Network& network,
                                                 const Noise& noise) {
  if (const auto sync = blocking_sync(resolved.jobs[job], network)) {
    return std::make_unique<BlockingSampler>(resolved.jobs[job], noise, *sync);
  }
  return std::make_unique<SimulatedSampler>(resolved, job, network, noise);
}

}  // namespace vitsim
