#include "sim/run/run.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "models/error.h"
#include "sim/run/events.h"
#include "sim/step/accounting.h"
#include "sim/step/step.h"

// A run, step after step. A step maps starts to ends and commutes with shifts in time, so when the
// ranks begin a step with the same offsets among them as they began the one before, all following
// steps repeat it until something changes: the short last step, or an event. Such steps are added,
// not computed; so are epochs that no event touches.
//
// Each epoch has its own clock that begins at 0 with all ranks together.

namespace vitsim {

namespace {

/// Sums of a run in ticks.
struct Totals {
  explicit Totals(std::size_t positions)
      : busy(positions), exposed(positions), wait(positions), late(positions) {}

  void add(const StepOutcome& step, std::int64_t times) {
    for (std::size_t i = 0; i < busy.size(); ++i) {
      busy[i] += static_cast<Int128>(step.busy[i]) * times;
      exposed[i] += static_cast<Int128>(step.exposed[i]) * times;
      wait[i] += static_cast<Int128>(step.wait[i]) * times;
    }
    count_late(step.ready, static_cast<double>(times), late);
    steps += times;
  }

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

/// The epochs of one job that has the network to itself.
class EpochRunner {
 public:
  EpochRunner(const Network& network, const JobPlan& job, std::span<const RunEvent> events)
      : job_(job), events_(network, events), network_(network) {}

  [[nodiscard]] const RunEvents& events() const { return events_; }

  /// Did messages of two steps meet on shared links? Then steps cannot be taken one by one.
  [[nodiscard]] bool interleaved() const { return interleaved_; }

  /// The epoch that begins at `origin` of the run's clock, its steps numbered from `first_step`.
  Epoch run(Int128 origin, std::int64_t first_step, RunTimeline* timeline);

 private:
  void use_network(Int128 time);

  void check_interleaving();

  [[nodiscard]] std::span<const RankWork> work(std::int64_t step) const {
    return step + 1 == job_.steps && !job_.last.empty() ? job_.last : job_.full;
  }

  const StepOutcome& run_step(std::int64_t step,
                              const std::vector<Tick>& starts,
                              const std::vector<LinkChange>& changes,
                              std::vector<StepSpan>* spans);

  const JobPlan& job_;
  RunEvents events_;
  Network network_;
  std::optional<StepSimulator> step_;
  Tick first_call_begin_ = 0;  // of the last step
  Tick last_call_end_ = 0;     // of the epoch so far
  bool interleaved_ = false;
};

/// Takes the bandwidths of that instant; a simulator holds figures of the links, so it is made
/// anew.
void EpochRunner::use_network(Int128 time) {
  if (step_ && events_.empty()) {
    return;
  }
  step_.reset();
  network_ = events_.network_at(time);
  step_.emplace(network_, job_.ranks, job_.sync);
}

/// Arrays are exact although steps overlap in time: no two collectives of a job share a link.
void EpochRunner::check_interleaving() {
  if (step_->by_arrays()) {
    return;
  }
  Tick first_begin = std::numeric_limits<Tick>::max();
  Tick last_end = 0;
  for (std::size_t call = 0; call < step_->call_begins().size(); ++call) {
    const std::vector<Tick>& begins = step_->call_begins()[call];
    const std::vector<Tick>& ends = step_->call_ends()[call];
    first_begin = std::min(first_begin, *std::min_element(begins.begin(), begins.end()));
    last_end = std::max(last_end, *std::max_element(ends.begin(), ends.end()));
  }
  interleaved_ = interleaved_ || first_begin < last_call_end_;
  first_call_begin_ = first_begin;
  last_call_end_ = last_end;
}

const StepOutcome& EpochRunner::run_step(std::int64_t step,
                                         const std::vector<Tick>& starts,
                                         const std::vector<LinkChange>& changes,
                                         std::vector<StepSpan>* spans) {
  if (changes.empty()) {
    return step_->run(work(step), starts, spans);
  }
  if (step_->by_arrays()) {
    const StepOutcome& undisturbed = step_->run(work(step), starts);
    if (*std::max_element(undisturbed.end.begin(), undisturbed.end.end()) <= changes.front().at) {
      return spans == nullptr ? undisturbed : step_->run(work(step), starts, spans);
    }
  }
  return step_->run_events(work(step), starts, changes, spans);
}

void append_spans(const JobPlan& job,
                  Int128 origin,
                  std::int64_t step,
                  const std::vector<StepSpan>& from,
                  std::vector<Span>& to) {
  const auto nanoseconds = [&](Tick tick) {
    return static_cast<std::int64_t>((origin + tick + 500) / 1000);
  };
  for (const StepSpan& span : from) {
    to.push_back({.rank = job.ranks[span.position],
                  .stream = span.stream,
                  .step = step,
                  .phase = span.phase,
                  .begin_ns = nanoseconds(span.begin),
                  .end_ns = nanoseconds(span.end),
                  .bytes = span.bytes});
  }
}

Epoch EpochRunner::run(Int128 origin, std::int64_t first_step, RunTimeline* timeline) {
  const std::size_t positions = job_.ranks.size();
  Epoch epoch{.totals = Totals(positions)};
  use_network(origin);
  for (std::uint32_t i = 0; i < positions; ++i) {
    step_->set_speed(i, events_.slow_intervals(job_.ranks[i], origin));
  }
  std::vector<LinkChange> changes = events_.link_changes(origin);
  const std::vector<Tick> edges = events_.edges(origin);
  std::vector<Tick> starts(positions, 0);
  std::vector<Tick> ends(positions);
  std::vector<StepSpan> spans;
  Tick previous_end = 0;
  last_call_end_ = 0;
  for (std::int64_t step = 0; step < job_.steps;) {
    const Tick first_start = *std::min_element(starts.begin(), starts.end());
    if (!changes.empty() && changes.front().at <= first_start) {
      use_network(origin + first_start);
      for (std::uint32_t i = 0; i < positions; ++i) {
        step_->set_speed(i, events_.slow_intervals(job_.ranks[i], origin));
      }
      std::erase_if(changes, [&](const LinkChange& change) { return change.at <= first_start; });
    }
    const bool is_shown = timeline != nullptr && first_step + step < timeline->steps;
    spans.clear();
    const StepOutcome& outcome = run_step(step, starts, changes, is_shown ? &spans : nullptr);
    ++epoch.steps_computed;
    check_interleaving();
    if (is_shown) {
      append_spans(job_, origin, first_step + step, spans, timeline->spans);
    }
    ends = outcome.end;
    const Tick first_end = *std::min_element(ends.begin(), ends.end());
    const Tick last_end = *std::max_element(ends.begin(), ends.end());
    // How often can this very step follow itself?
    std::int64_t times = 1;
    const bool is_full = step + 1 < job_.steps || job_.last.empty();
    const Tick shift = first_end - first_start;
    bool repeats = is_full;
    for (std::size_t i = 0; repeats && i < positions; ++i) {
      repeats = ends[i] - starts[i] == shift;
    }
    if (repeats && shift > 0) {
      std::int64_t left = job_.steps - step - (job_.last.empty() ? 0 : 1);
      if (timeline != nullptr) {
        left = first_step + step + 1 < timeline->steps ? 1 : left;
      }
      const auto next_edge = std::upper_bound(edges.begin(), edges.end(), first_start);
      if (next_edge != edges.end()) {
        const Tick room = *next_edge - last_end;
        left = room < 0 ? 1 : std::min(left, 1 + room / shift);
      }
      times = left;
      interleaved_ = interleaved_ || (!step_->by_arrays() && times > 1 &&
                                      first_call_begin_ + shift < last_call_end_);
    }
    epoch.totals.add(outcome, times);
    const Tick skipped = (times - 1) * shift;
    for (std::size_t i = 0; i < positions; ++i) {
      starts[i] = ends[i] + skipped;
    }
    const Tick end = last_end + skipped;
    last_call_end_ += skipped;
    if (is_full) {
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
  if (job.full.size() != job.ranks.size() ||
      (!job.last.empty() && job.last.size() != job.ranks.size())) {
    throw UserError("a job needs the work of each of its ranks");
  }
}

RunOutcome simulate_run(const Network& network,
                        const JobPlan& job,
                        std::span<const RunEvent> events,
                        RunTimeline* timeline) {
  check_plan(job);
  EpochRunner runner(network, job, events);
  RunOutcome outcome;
  Totals totals(job.ranks.size());
  std::optional<Epoch> quiet;  // an epoch that no event touches
  const Int128 start = to_ticks(job.start);
  Int128 now = start;
  for (std::int64_t epoch = 0; epoch < job.epochs; ++epoch) {
    const std::int64_t first_step = epoch * job.steps;
    const bool is_shown = timeline != nullptr && first_step < timeline->steps;
    const bool repeats = quiet && !is_shown && !runner.events().touches(now, now + quiet->duration);
    if (!repeats) {
      Epoch computed = runner.run(now, first_step, is_shown ? timeline : nullptr);
      outcome.steps_computed += computed.steps_computed;
      totals.add(computed.totals);
      outcome.epochs.push_back(to_seconds(computed.duration));
      const Tick duration = computed.duration;
      if (!runner.events().touches(now, now + duration)) {
        quiet = std::move(computed);
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
    return simulate_jobs(network, {&job, 1}, events).front();
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
