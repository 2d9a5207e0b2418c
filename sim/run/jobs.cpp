#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"
#include "sim/run/events.h"
#include "sim/run/run.h"
#include "sim/step/accounting.h"
#include "sim/step/event_job.h"

// Several jobs on one engine and one clock, which begins with the run. Nothing is skipped here:
// every message of every step of every job is an event, because any of them may meet any other.

namespace vitsim {

namespace {

/// Hands out the steps of one job, holds its barrier at the end of each epoch, and keeps account.
class JobFeed final : public StepFeed, public EventHandler {
 public:
  JobFeed(FlowEngine& engine, const Network& network, const JobPlan& job, const RunEvents& events)
      : engine_(engine),
        job_(job),
        group_(network, job.ranks),
        calls_(sync_calls(job.sync, group_)),
        alone_(alone_times(group_, calls_, job.sync.collective_overhead)),
        handler_(engine.add_handler(*this)),
        late_(job.ranks.size()),
        busy_(job.ranks.size()),
        outcome_{.ranks = std::vector<RankTotals>(job.ranks.size())} {
    for (const std::int64_t rank : job.ranks) {
      speeds_.emplace_back(events.slow_intervals(rank, 0));
    }
    for (const std::vector<Tick>& call : alone_) {
      for (std::size_t i = 0; i < busy_.size(); ++i) {
        busy_[i] += call[i];
      }
    }
    for (Readiness& readiness : readiness_) {
      readiness.ready.resize(job.ranks.size());
      readiness.ends.resize(job.ranks.size());
    }
    machine_.emplace(engine, group_, job.sync, calls_, speeds_, *this);
    epoch_begin_ = to_ticks(job.start);
    engine.at(epoch_begin_, handler_, 0);
  }

  /// All ranks begin the epoch.
  void on_event(std::uint32_t /*tag*/) override {
    epoch_begin_ = previous_step_end_ = engine_.now();
    released_ += job_.steps;
    arrived_ = 0;
    for (std::uint32_t i = 0; i < job_.ranks.size(); ++i) {
      machine_->begin(i, engine_.now());
    }
  }

  const RankWork* next_step(std::uint32_t position, std::int64_t step) override {
    if (step >= released_) {
      return nullptr;
    }
    return is_full(step) ? &job_.full[position] : &job_.last[position];
  }

  void step_ended(std::uint32_t position, std::int64_t step, Tick end) override {
    const EventStepTimes& times = machine_->times()[position];
    const Accounted sums = account(calls_,
                                   alone_,
                                   machine_->call_begins(),
                                   machine_->call_ends(),
                                   position,
                                   times.ready,
                                   times.sync_end);
    RankTotals& totals = outcome_.ranks[position];
    totals.busy += to_seconds(busy_[position]);
    totals.exposed += to_seconds(sums.exposed);
    totals.wait += to_seconds(sums.wait);
    Readiness& readiness = readiness_[static_cast<std::size_t>(step % 2)];
    readiness.ready[position] = times.ready;
    readiness.ends[position] = end;
    if (++readiness.arrived == job_.ranks.size()) {
      readiness.arrived = 0;
      whole_step_ended(step, readiness);
    }
    if (step + 1 == released_ && ++arrived_ == job_.ranks.size()) {
      epoch_ended();
    }
  }

  [[nodiscard]] bool is_over() const { return std::ssize(outcome_.epochs) == job_.epochs; }

  [[nodiscard]] std::vector<std::string> waiting() const { return machine_->waiting(); }

  [[nodiscard]] RunOutcome outcome() const {
    RunOutcome result = outcome_;
    result.full_step =
        full_steps_ == 0 ? Seconds(0) : to_seconds(full_ticks_) / static_cast<double>(full_steps_);
    for (std::size_t i = 0; i < late_.size(); ++i) {
      result.ranks[i].late_steps = late_[i];
    }
    return result;
  }

 private:
  /// When the ranks were ready in a step and ended it; a rank may be one step ahead of another.
  struct Readiness {
    std::vector<Tick> ready;
    std::vector<Tick> ends;
    std::size_t arrived = 0;
  };

  [[nodiscard]] bool is_full(std::int64_t step) const {
    return job_.last.empty() || (step + 1) % job_.steps != 0;
  }

  void whole_step_ended(std::int64_t step, const Readiness& readiness) {
    count_late(readiness.ready, 1, late_);
    ++outcome_.steps;
    ++outcome_.steps_computed;
    const Tick end = *std::max_element(readiness.ends.begin(), readiness.ends.end());
    if (is_full(step)) {
      full_ticks_ += end - previous_step_end_;
      ++full_steps_;
    }
    previous_step_end_ = end;
  }

  void epoch_ended() {
    const Tick now = engine_.now();
    outcome_.epochs.push_back(to_seconds(now - epoch_begin_));
    outcome_.total = to_seconds(now + job_.after_epoch - to_ticks(job_.start));
    if (!is_over()) {
      engine_.at(now + job_.after_epoch, handler_, 0);
    }
  }

  FlowEngine& engine_;
  const JobPlan& job_;
  Communicator group_;
  SyncCalls calls_;
  std::vector<std::vector<Tick>> alone_;
  HandlerId handler_;
  std::vector<ComputeSpeed> speeds_;
  std::optional<EventJob> machine_;
  std::int64_t released_ = 0;  // steps that may begin
  std::size_t arrived_ = 0;    // ranks at the barrier
  Tick epoch_begin_ = 0;
  Tick previous_step_end_ = 0;
  Tick full_ticks_ = 0;
  std::int64_t full_steps_ = 0;
  std::array<Readiness, 2> readiness_;
  std::vector<double> late_;
  std::vector<Tick> busy_;
  RunOutcome outcome_;
};

/// Changes links when their time comes.
class LinkChanger final : public EventHandler {
 public:
  LinkChanger(FlowEngine& engine, std::vector<LinkChange> changes)
      : engine_(engine), changes_(std::move(changes)) {
    const HandlerId handler = engine.add_handler(*this);
    for (std::uint32_t i = 0; i < changes_.size(); ++i) {
      engine.at(changes_[i].at, handler, i);
    }
  }

  void on_event(std::uint32_t change) override {
    engine_.set_bandwidth(changes_[change].link, changes_[change].bandwidth);
  }

 private:
  FlowEngine& engine_;
  std::vector<LinkChange> changes_;
};

}  // namespace

std::vector<RunOutcome> simulate_jobs(const Network& network,
                                      std::span<const JobPlan> jobs,
                                      std::span<const RunEvent> events) {
  std::set<std::int64_t> taken;
  for (const JobPlan& job : jobs) {
    check_plan(job);
    for (const std::int64_t rank : job.ranks) {
      if (!taken.insert(rank).second) {
        throw UserError(fmt::format("rank {} belongs to two jobs", rank));
      }
    }
  }
  const RunEvents run_events(network, events);
  const Network at_start = run_events.network_at(0);
  FlowEngine engine(at_start.links());
  const LinkChanger changer(engine, run_events.link_changes(0));
  std::deque<JobFeed> feeds;
  for (const JobPlan& job : jobs) {
    feeds.emplace_back(engine, at_start, job, run_events);
  }
  engine.run();
  std::vector<RunOutcome> outcomes;
  for (const JobFeed& feed : feeds) {
    if (!feed.is_over()) {
      throw InternalError(fmt::format("a job does not end: {}", fmt::join(feed.waiting(), "; ")));
    }
    outcomes.push_back(feed.outcome());
  }
  return outcomes;
}

}  // namespace vitsim
