#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/report/communication.h"
#include "models/report/timeline.h"
#include "sim/job/resolved_job.h"
#include "sim/step/accounting.h"
#include "sim/step/class_level.h"
#include "sim/step/step_executor.h"

namespace vitsim {

/// The steps of one job without noise, one after the other, under factors on the compute of its
/// classes.
///
/// Where ranks of a class are at the same place at any time, one position stands for each class,
/// however many ranks it has (ClassLevel). Elsewhere every rank is a position. Not thread-safe.
class StepModel {
 public:
  /// `job` must outlive it.
  explicit StepModel(const ResolvedJob& job);

  /// Do positions stand for classes?
  [[nodiscard]] bool by_classes() const { return classes_ != nullptr; }

  /// Are steps simulated message by message?
  [[nodiscard]] bool by_events() const { return classes_ == nullptr && !ranks_->by_arrays(); }

  /// Mean full step once the offsets between ranks have settled, with a factor on every class's
  /// compute. A step that repeats exactly is simulated once; else a few are, and averaged.
  [[nodiscard]] double step_s(std::span<const double> class_factors = {}) const;

  /// The same with a factor of one rank alone.
  [[nodiscard]] double step_with_rank_s(std::size_t position, double factor) const;

  /// The same with every transfer `factor` times slower.
  [[nodiscard]] double step_on_slower_network_s(double factor) const;

  /// The short last step behind a full one.
  [[nodiscard]] double short_step_s() const;

  /// Mean and standard deviation over steps of which every one has factors of its own:
  /// `factors_of(step)` by position of the job.
  struct Scatter {
    double mean_s = 0;
    double sigma_s = 0;
  };

  template <class FactorsOf>
  [[nodiscard]] Scatter scatter(const FactorsOf& factors_of, int steps) const {
    std::vector<double> seen;
    std::vector<Tick> starts(job_.world_size(), 0);
    Tick before = 0;
    for (int step = 0; step < kWarmUp + steps; ++step) {
      const Tick now = noisy_step(factors_of(step), starts);
      if (step >= kWarmUp) {
        seen.push_back(to_seconds(now - before).value());
      }
      before = now;
    }
    return scatter_of(seen);
  }

  /// The settled step: where the time of positions goes. `ready` counts from when the last rank
  /// began it.
  struct Settled {
    std::vector<std::uint32_t> positions;  // that are accounted, rising
    std::vector<RankAccount> accounts;     // of these
    Tick begin = 0;
    std::vector<CommunicationRow> communication;  // mean over the job's ranks
  };

  /// Of every position, or of no more than about `most` of each class, evenly spread.
  [[nodiscard]] Settled settled(std::optional<std::size_t> most = std::nullopt) const;

  /// What the given positions do in the settled step, on a clock that begins with the first of all
  /// ranks. Spans name the position as their rank.
  [[nodiscard]] std::vector<Span> settled_spans(std::span<const std::uint32_t> positions) const;

  /// The class of a position of `settled`.
  [[nodiscard]] std::size_t class_of(std::size_t position) const {
    return by_classes() ? position : job_.class_of[position];
  }

 private:
  static constexpr int kWarmUp = 3;
  static constexpr int kMeasured = 4;

  /// Where the ranks stand when a plain step begins, once their offsets have settled.
  struct Offsets {
    std::vector<Tick> starts;  // by position
    double step_s = 0;
  };

  [[nodiscard]] const Offsets& settled_offsets() const;

  [[nodiscard]] const StepProgram& program() const {
    return by_classes() ? level_->program() : *job_.full;
  }

  [[nodiscard]] StepTimes settled_times() const;
  [[nodiscard]] AloneTimes alone_times() const;
  [[nodiscard]] StepExecutor& rank_executor() const;
  [[nodiscard]] Tick noisy_step(const std::vector<double>& factors,
                                std::vector<Tick>& starts) const;
  static Scatter scatter_of(const std::vector<double>& seen);

  const ResolvedJob& job_;
  std::optional<ClassLevel> level_;
  std::unique_ptr<ArrayExecutor> classes_;
  mutable std::optional<Offsets> offsets_;
  mutable std::unique_ptr<StepExecutor> ranks_;  // made at first use where classes will do
};

}  // namespace vitsim
