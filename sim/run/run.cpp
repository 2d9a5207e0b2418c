#include "sim/run/run.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "models/error.h"
#include "sim/run/disturbances.h"
#include "sim/run/spans.h"
#include "sim/step/accounting.h"
#include "sim/step/step_executor.h"

// A run, step after step. A step maps starts to ends and commutes with shifts in time, so when the
// ranks begin a step with the same offsets among them as they began the one before, all following
// steps repeat it until something changes: the short last step, or a disturbance. Such steps are
// added, not computed; so are epochs that no disturbance touches.
//
// Each epoch has its own clock that begins at 0 with all ranks together.

namespace vitsim {

namespace {

/// Sums of a run in ticks.
struct Totals {
  explicit Totals(std::size_t positions)
      : busy(positions), exposed(positions), wait(positions), late(positions) {}

  void add(const Totals& other) {
    for (std::size_t i = 0; i < busy.size(); ++i) {
      busy[i] += other.busy[i];
      exposed[i] += other.exposed[i];
      wait[i] += other.wait[i];
      late[i] += other.late[i];
    }
    full_ticks += other.full_ticks;
    full_steps += other.full_steps;
    steps += other.steps;
  }

  std::vector<Int128> busy;
  std::vector<Int128> exposed;
  std::vector<Int128> wait;
  std::vector<double> late;
  Int128 full_ticks = 0;
  std::int64_t full_steps = 0;
  std::int64_t steps = 0;
};

Seconds seconds_of(Int128 ticks) {
  return Seconds(static_cast<double>(ticks) * 1e-12);
}

struct Epoch {
  Tick duration = 0;
  Totals totals;
  std::int64_t steps_computed = 0;
};

/// A program on one state of the network.
struct PreparedStep {
  PreparedStep(std::shared_ptr<const Communicator> group, const StepProgram& program)
      : executor(std::move(group), program),
        ticks(program),
        alone(program, executor.groups()),
        times(executor.make_times()) {}

  StepExecutor executor;
  OperationTicks ticks;
  AloneTimes alone;
  StepTimes times;
};

/// The epochs of one job that has the network to itself.
class EpochRunner {
 public:
  EpochRunner(const Network& network, const JobPlan& job, std::span<const Disturbance> disturbances)
      : job_(job), disturbances_(network, disturbances), network_(network) {}

  [[nodiscard]] const Disturbances& disturbances() const { return disturbances_; }

  /// Did messages of two steps meet on shared links? Then steps cannot be taken one by one.
  [[nodiscard]] bool interleaved() const { return interleaved_; }

  /// The epoch that begins at `origin` of the run's clock, its steps numbered from `first_step`.
  Epoch run(Int128 origin, std::int64_t first_step, RunTimeline* timeline);

 private:
  void use_network(Int128 time);
  void set_speeds(Int128 origin);
  void check_interleaving(const PreparedStep& prepared);

  [[nodiscard]] bool is_full(std::int64_t step) const {
    return job_.last == nullptr || step + 1 < job_.steps;
  }

  /// Of a step counted from the start of the job.
  PreparedStep& prepared(std::int64_t step) { return *prepared_.at(&job_.program(step)); }

  void run_step(PreparedStep& prepared,
                const std::vector<Tick>& starts,
                const std::vector<LinkChange>& changes);
  void account_step(const PreparedStep& prepared,
                    const std::vector<Tick>& starts,
                    std::int64_t times,
                    Totals& totals) const;

  const JobPlan& job_;
  Disturbances disturbances_;
  Network network_;
  std::map<const StepProgram*, std::unique_ptr<PreparedStep>> prepared_;
  Tick first_call_begin_ = 0;  // of the last step
  Tick last_call_end_ = 0;     // of the epoch so far
  bool interleaved_ = false;
};

/// Takes the bandwidths of that instant; an executor holds figures of the links, so it is made
/// anew.
void EpochRunner::use_network(Int128 time) {
  if (!prepared_.empty() && disturbances_.empty()) {
    return;
  }
  prepared_.clear();
  network_ = disturbances_.network_at(time);
  const auto group = std::make_shared<const Communicator>(network_, job_.ranks);
  const auto prepare = [&](const std::shared_ptr<const StepProgram>& program) {
    if (program != nullptr) {
      prepared_.emplace(program.get(), std::make_unique<PreparedStep>(group, *program));
    }
  };
  prepare(job_.full);
  prepare(job_.last);
  for (const RareProgram& kind : job_.rare) {
    prepare(kind.full);
    prepare(kind.last);
  }
}

void EpochRunner::set_speeds(Int128 origin) {
  for (std::size_t i = 0; i < job_.ranks.size(); ++i) {
    const std::vector<SlowInterval> slow = disturbances_.slow_intervals(job_.ranks[i], origin);
    for (const auto& [program, prepared] : prepared_) {
      prepared->executor.set_speed(i, slow);
    }
  }
}

/// Arrays are exact although steps overlap in time: no two collectives of a job share a link.
void EpochRunner::check_interleaving(const PreparedStep& prepared) {
  if (prepared.executor.by_arrays()) {
    return;
  }
  Tick first_begin = std::numeric_limits<Tick>::max();
  Tick last_end = 0;
  const StepProgram& program = prepared.executor.program();
  for (std::size_t i = 0; i < program.positions(); ++i) {
    const std::vector<Operation>& operations = program.of(i).operations;
    for (std::size_t k = 0; k < operations.size(); ++k) {
      if (operations[k].compute() == nullptr) {
        first_begin = std::min(first_begin, prepared.times.begins(k)[i]);
        last_end = std::max(last_end, prepared.times.ends(k)[i]);
      }
    }
  }
  interleaved_ = interleaved_ || first_begin < last_call_end_;
  first_call_begin_ = first_begin;
  last_call_end_ = last_end;
}

void EpochRunner::run_step(PreparedStep& prepared,
                           const std::vector<Tick>& starts,
                           const std::vector<LinkChange>& changes) {
  std::vector<Tick>& ends = prepared.times.step_end;
  if (changes.empty()) {
    prepared.executor.run(prepared.ticks, starts, ends, &prepared.times);
    return;
  }
  if (prepared.executor.by_arrays()) {
    prepared.executor.run(prepared.ticks, starts, ends, &prepared.times);
    if (*std::ranges::max_element(ends) <= changes.front().at) {
      return;
    }
  }
  std::vector<Tick> by_events(ends.size());
  prepared.executor.run_events(prepared.ticks, starts, by_events, &prepared.times, changes);
}

void EpochRunner::account_step(const PreparedStep& prepared,
                               const std::vector<Tick>& starts,
                               std::int64_t times,
                               Totals& totals) const {
  std::vector<Tick> ready(starts.size());
  for (std::uint32_t i = 0; i < starts.size(); ++i) {
    const RankAccount mine =
        account_rank(prepared.executor.program(), prepared.times, prepared.alone, i, starts[i]);
    totals.busy[i] += static_cast<Int128>(mine.step.communication) * times;
    totals.exposed[i] += static_cast<Int128>(mine.step.exposed) * times;
    totals.wait[i] += static_cast<Int128>(mine.step.wait) * times;
    ready[i] = mine.ready;
  }
  count_late(ready, static_cast<double>(times), totals.late);
  totals.steps += times;
}

Epoch EpochRunner::run(Int128 origin, std::int64_t first_step, RunTimeline* timeline) {
  const std::size_t positions = job_.ranks.size();
  Epoch epoch{.totals = Totals(positions)};
  use_network(origin);
  set_speeds(origin);
  std::vector<LinkChange> changes = disturbances_.link_changes(origin);
  const std::vector<Tick> edges = disturbances_.edges(origin);
  std::vector<Tick> starts(positions, 0);
  Tick previous_end = 0;
  last_call_end_ = 0;
  for (std::int64_t step = 0; step < job_.steps;) {
    const Tick first_start = *std::ranges::min_element(starts);
    if (!changes.empty() && changes.front().at <= first_start) {
      use_network(origin + first_start);
      set_speeds(origin);
      std::erase_if(changes, [&](const LinkChange& change) { return change.at <= first_start; });
    }
    const bool is_shown = timeline != nullptr && first_step + step < timeline->steps;
    PreparedStep& now = prepared(first_step + step);
    run_step(now, starts, changes);
    ++epoch.steps_computed;
    check_interleaving(now);
    for (std::uint32_t i = 0; is_shown && i < positions; ++i) {
      append_spans(now.executor.program(),
                   now.times,
                   now.alone,
                   i,
                   starts[i],
                   {.origin = origin, .rank = job_.ranks[i], .step = first_step + step},
                   timeline->spans);
    }
    const std::vector<Tick>& ends = now.times.step_end;
    const Tick first_end = *std::ranges::min_element(ends);
    const Tick last_end = *std::ranges::max_element(ends);
    // How often can this very step follow itself?
    std::int64_t times = 1;
    const Tick shift = first_end - first_start;
    bool repeats = is_full(step);
    for (std::size_t i = 0; repeats && i < positions; ++i) {
      repeats = ends[i] - starts[i] == shift;
    }
    if (repeats && shift > 0) {
      std::int64_t left = std::min(job_.steps - step - (job_.last == nullptr ? 0 : 1),
                                   steps_alike(job_.rare, first_step + step));
      if (timeline != nullptr) {
        left = first_step + step + 1 < timeline->steps ? 1 : left;
      }
      const auto next_edge = std::ranges::upper_bound(edges, first_start);
      if (next_edge != edges.end()) {
        const Tick room = *next_edge - last_end;
        left = room < 0 ? 1 : std::min(left, 1 + room / shift);
      }
      times = left;
      interleaved_ = interleaved_ || (!now.executor.by_arrays() && times > 1 &&
                                      first_call_begin_ + shift < last_call_end_);
    }
    account_step(now, starts, times, epoch.totals);
    const Tick skipped = (times - 1) * shift;
    for (std::size_t i = 0; i < positions; ++i) {
      starts[i] = ends[i] + skipped;
    }
    const Tick end = last_end + skipped;
    last_call_end_ += skipped;
    if (is_full(step)) {
      epoch.totals.full_ticks += end - previous_end;
      epoch.totals.full_steps += times;
    }
    previous_end = end;
    step += times;
  }
  epoch.duration = previous_end;
  return epoch;
}

}  // namespace

void check_plan(const JobPlan& job) {
  if (job.steps < 1 || job.epochs < 1) {
    throw UserError("a job needs at least one step and one epoch");
  }
  if (job.full == nullptr || job.full->positions() != job.ranks.size() ||
      (job.last != nullptr && job.last->positions() != job.ranks.size())) {
    throw UserError("a job needs the work of each of its ranks");
  }
}

RunOutcome simulate_run(const Network& network,
                        const JobPlan& job,
                        std::span<const Disturbance> disturbances,
                        RunTimeline* timeline) {
  check_plan(job);
  EpochRunner runner(network, job, disturbances);
  RunOutcome outcome;
  Totals totals(job.ranks.size());
  std::optional<Epoch> quiet;   // an epoch that no disturbance touches
  std::int64_t quiet_step = 0;  // its first
  const Int128 start = to_ticks(job.start);
  Int128 now = start;
  for (std::int64_t epoch = 0; epoch < job.epochs; ++epoch) {
    const std::int64_t first_step = epoch * job.steps;
    const bool is_shown = timeline != nullptr && first_step < timeline->steps;
    const bool repeats = quiet && !is_shown &&
                         epochs_alike(job.rare, job.steps, quiet_step, first_step) &&
                         !runner.disturbances().touches(now, now + quiet->duration);
    if (!repeats) {
      Epoch computed = runner.run(now, first_step, is_shown ? timeline : nullptr);
      outcome.steps_computed += computed.steps_computed;
      totals.add(computed.totals);
      outcome.epochs.push_back(to_seconds(computed.duration));
      const Tick duration = computed.duration;
      if (!runner.disturbances().touches(now, now + duration)) {
        quiet = std::move(computed);
        quiet_step = first_step;
      }
      now += duration;
    } else {
      totals.add(quiet->totals);
      outcome.epochs.push_back(to_seconds(quiet->duration));
      now += quiet->duration;
    }
    now += job.after_epoch;
  }
  if (runner.interleaved()) {
    if (timeline != nullptr) {
      timeline->spans.clear();
    }
    return simulate_jobs(network, {&job, 1}, disturbances, timeline).front();
  }
  outcome.total = seconds_of(now - start);
  outcome.steps = totals.steps;
  outcome.full_step = totals.full_steps == 0
                          ? Seconds(0)
                          : seconds_of(totals.full_ticks) / static_cast<double>(totals.full_steps);
  for (std::size_t i = 0; i < job.ranks.size(); ++i) {
    outcome.ranks.push_back({.busy = seconds_of(totals.busy[i]),
                             .exposed = seconds_of(totals.exposed[i]),
                             .wait = seconds_of(totals.wait[i]),
                             .late_steps = totals.late[i]});
  }
  return outcome;
}

}  // namespace vitsim
