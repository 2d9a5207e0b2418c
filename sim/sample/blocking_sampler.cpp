// A run has factors of its own: one on each kind of GPU, one on the network, one on each GPU.
// Inside the run every rank's step varies. Where collectives block and take everybody equally long,
// a step is the slowest rank's compute plus the collectives, so its mean and its scatter follow
// from the distribution of a maximum (straggler.h), and an epoch of n steps is normal about n
// means, with sqrt(n) scatters: drawn at once instead of step by step and rank by rank. A test
// holds both equal.
//
// Of a large class the few slowest GPUs are drawn as the order statistics that they are; the others
// count as one group in which GPUs and steps scatter together.
#include "sim/sample/blocking_sampler.h"

#include <algorithm>
#include <cmath>

#include "sim/sample/straggler.h"
#include "sim/step/communication_rows.h"
#include "sim/step/together.h"

namespace vitsim {

namespace {

constexpr std::int64_t kLargeClass = 32;  // ranks; from here on not one by one
constexpr std::size_t kSlowest = 4;       // of a large class, drawn by themselves

/// The rounds of one program, its classes as those of the job.
struct Rounds {
  std::vector<BlockingRound> rounds;
  std::vector<std::uint32_t> classes;             // of the job, by class of the program
  std::vector<std::vector<std::uint32_t>> ranks;  // by class of the program; large ones: the first
  std::vector<std::int64_t> counts;               // by class of the program
};

class BlockingSampler final : public EpochSampler {
 public:
  BlockingSampler(const ResolvedJob& job, const Noise& noise, Rounds full, Rounds last)
      : job_(job), noise_(noise), full_(std::move(full)), last_(std::move(last)) {}

  [[nodiscard]] SampledRun sample(int replicate) const override {
    const double network = noise_.network_factor(replicate);
    const Step full = noisy_step(full_, replicate, network);
    const double last = last_.rounds.empty() ? 0 : noisy_step(last_, replicate, network).mean_s;
    SampledRun run{.epoch_s = {}, .step_s = full.mean_s};
    const auto steps = static_cast<double>(job_.full_steps());
    for (std::int64_t epoch = 0; epoch < job_.training.epochs; ++epoch) {
      const double scatter = full.sigma_s == 0 ? 0
                                               : std::sqrt(steps) * full.sigma_s *
                                                     noise_.epoch_scatter(replicate, epoch);
      run.epoch_s.push_back(steps * full.mean_s + scatter + last + job_.epoch_start.value());
    }
    return run;
  }

  [[nodiscard]] TypicalStep typical() const override {
    const std::vector<double> none(job_.classes.size(), 1.0);
    TypicalStep step{.step_s = quiet_step(full_, none).mean_s};
    double communication = 0;
    for (const BlockingRound& round : full_.rounds) {
      communication += round.communication_s;
    }
    std::vector<double> first_round;
    const OperationTicks ticks(*job_.full);
    for (std::size_t each = 0; each < job_.classes.size(); ++each) {
      TypicalRank rank{.exposed_s = communication};
      const std::vector<Operation>& operations = job_.full->classes[each].operations;
      for (std::size_t i = 0; i < operations.size(); ++i) {
        double& phase = rank.phase_s[static_cast<std::size_t>(operations[i].phase)];
        if (operations[i].compute() != nullptr) {
          phase += to_seconds(ticks.in_row(i, each)).value();
        }
      }
      for (const BlockingRound& round : full_.rounds) {
        rank.compute_s += round.compute_s[each];
        for (std::size_t phase = 0; phase < rank.phase_s.size(); ++phase) {
          rank.phase_s[phase] += round.phase_s[phase];
        }
      }
      rank.wait_s = std::max(0.0, step.step_s - communication - rank.compute_s);
      step.classes.push_back(rank);
      first_round.push_back(full_.rounds.front().compute_s[each]);
    }
    step.late_share = late_shares(job_, first_round, noise_);
    step.communication = communication_rows();
    return step;
  }

  [[nodiscard]] double gain_s(const std::vector<double>& class_factors) const override {
    const auto epoch = [&](const std::vector<double>& by_class) {
      return static_cast<double>(job_.full_steps()) * quiet_step(full_, by_class).mean_s +
             (last_.rounds.empty() ? 0 : quiet_step(last_, by_class).mean_s);
    };
    return epoch(std::vector<double>(class_factors.size(), 1.0)) - epoch(class_factors);
  }

  [[nodiscard]] double rank_gain_s(std::size_t position, double factor) const override {
    const std::uint32_t of = job_.class_of[position];
    const auto epoch = [&](double by) {
      return static_cast<double>(job_.full_steps()) * step_with(full_, of, by) +
             (last_.rounds.empty() ? 0 : step_with(last_, of, by));
    };
    return epoch(1) - epoch(factor);
  }

 private:
  /// Nothing of it is hidden.
  [[nodiscard]] std::vector<CommunicationRow> communication_rows() const {
    TogetherTimes together(*job_.group);
    CommunicationRows rows(*job_.full);
    std::vector<double> busy_s;
    for (std::uint32_t each = 0; each < job_.classes.size(); ++each) {
      busy_s.clear();
      for (const Operation& operation : job_.full->classes[each].operations) {
        const Collective* collective = operation.collective();
        busy_s.push_back(
            collective == nullptr
                ? 0
                : to_seconds(*together.at(*collective) + job_.full->collective_overhead).value());
      }
      rows.add(
          each,
          static_cast<double>(job_.classes[each].count) / static_cast<double>(job_.world_size()),
          busy_s,
          busy_s);
    }
    return rows.rows(*job_.group, job_.training.all_reduce);
  }

  struct Step {
    double mean_s = 0;
    double sigma_s = 0;
  };

  /// The step when loads of each round are as `add_loads` says: (round, loads).
  template <class AddLoads>
  static Step step_of(const Rounds& rounds, double network, const AddLoads& add_loads) {
    Step step;
    double variance = 0;
    std::vector<RankLoad> loads;
    for (const BlockingRound& round : rounds.rounds) {
      loads.clear();
      add_loads(round, loads);
      const SlowestOf slowest = slowest_of(loads, false);
      step.mean_s += slowest.mean_s + network * round.communication_s;
      variance += slowest.sigma_s * slowest.sigma_s;
    }
    step.sigma_s = std::sqrt(variance);
    return step;
  }

  /// Every rank is what its profile says, times its class's factor.
  [[nodiscard]] Step quiet_step(const Rounds& rounds,
                                const std::vector<double>& class_factors) const {
    return step_of(rounds, 1, [&](const BlockingRound& round, std::vector<RankLoad>& loads) {
      for (std::size_t k = 0; k < rounds.classes.size(); ++k) {
        const std::uint32_t of = rounds.classes[k];
        loads.push_back({.seconds = round.compute_s[k] * class_factors[of],
                         .sigma = noise_.step_sigma(of),
                         .count = static_cast<double>(rounds.counts[k])});
      }
    });
  }

  /// One rank of a class has a factor of its own.
  [[nodiscard]] double step_with(const Rounds& rounds, std::uint32_t of, double factor) const {
    return step_of(rounds,
                   1,
                   [&](const BlockingRound& round, std::vector<RankLoad>& loads) {
                     bool taken = false;
                     for (std::size_t k = 0; k < rounds.classes.size(); ++k) {
                       const bool is_mine = rounds.classes[k] == of && !taken;
                       RankLoad load{.seconds = round.compute_s[k],
                                     .sigma = noise_.step_sigma(rounds.classes[k]),
                                     .count = static_cast<double>(rounds.counts[k])};
                       if (is_mine) {
                         taken = true;
                         loads.push_back(load);
                         loads.back().seconds *= factor;
                         loads.back().count = 1;
                         load.count -= 1;
                       }
                       if (load.count > 0) {
                         loads.push_back(load);
                       }
                     }
                   })
        .mean_s;
  }

  /// One run: every kind of GPU and every GPU has its factor.
  [[nodiscard]] Step noisy_step(const Rounds& rounds, int replicate, double network) const {
    return step_of(rounds, network, [&](const BlockingRound& round, std::vector<RankLoad>& loads) {
      for (std::size_t k = 0; k < rounds.classes.size(); ++k) {
        const std::uint32_t of = rounds.classes[k];
        const double kind = noise_.run_factor(noise_.kind(of), replicate);
        const double seconds = round.compute_s[k] * kind;
        const double sigma = noise_.step_sigma(of);
        const std::int64_t count = rounds.counts[k];
        if (noise_.unit_sigma(of) == 0) {
          loads.push_back({seconds, sigma, static_cast<double>(count)});
        } else if (count <= kLargeClass) {
          for (const std::uint32_t position : rounds.ranks[k]) {
            loads.push_back({seconds * noise_.unit_factor(of, position, replicate), sigma});
          }
        } else {
          for (const double unit : noise_.largest_unit_factors(of, count, kSlowest, replicate)) {
            loads.push_back({seconds * unit, sigma});
          }
          // The others never exceed the slowest drawn; without noise from step to step they do not
          // matter.
          if (sigma > 0) {
            const double together = std::hypot(sigma, noise_.unit_sigma(of));
            loads.push_back({seconds, together, static_cast<double>(count) - kSlowest});
          }
        }
      }
    });
  }

  const ResolvedJob& job_;
  const Noise& noise_;
  Rounds full_;
  Rounds last_;  // without rounds where the last step is full
};

std::optional<Rounds> make_rounds(const ResolvedJob& job,
                                  const StepProgram& program,
                                  std::vector<std::uint32_t> classes) {
  auto found = rounds_of(job, program);
  if (!found) {
    return std::nullopt;
  }
  Rounds rounds{.rounds = std::move(*found),
                .classes = std::move(classes),
                .ranks = std::vector<std::vector<std::uint32_t>>(program.classes.size()),
                .counts = program.class_counts()};
  for (std::uint32_t position = 0; position < program.positions(); ++position) {
    const std::uint32_t k = program.class_of[position];
    if (rounds.counts[k] <= kLargeClass) {
      rounds.ranks[k].push_back(position);
    }
  }
  return rounds;
}

}  // namespace

std::optional<std::vector<BlockingRound>> rounds_of(const ResolvedJob& job,
                                                    const StepProgram& program) {
  TogetherTimes together(*job.group);
  return blocking_rounds(program,
                         [&](const Collective& collective) { return together.at(collective); });
}

std::unique_ptr<EpochSampler> make_blocking_sampler(const ResolvedJob& job, const Noise& noise) {
  std::vector<std::uint32_t> classes(job.classes.size());
  for (std::uint32_t i = 0; i < classes.size(); ++i) {
    classes[i] = i;
  }
  auto full = make_rounds(job, *job.full, std::move(classes));
  if (!full) {
    return nullptr;
  }
  std::optional<Rounds> last = Rounds();
  if (job.last != nullptr) {
    last = make_rounds(job, *job.last, job.last_classes);
  }
  if (!last) {
    return nullptr;
  }
  return std::make_unique<BlockingSampler>(job, noise, std::move(*full), std::move(*last));
}

}  // namespace vitsim
