#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"
#include "sim/run/disturbances.h"
#include "sim/run/run.h"
#include "sim/run/spans.h"
#include "sim/step/accounting.h"
#include "sim/step/event_executor.h"

// Several jobs on one engine and one clock, which begins with the run. Nothing is skipped here:
// every message of every step of every job is an event, because any of them may meet any other.

namespace vitsim {

namespace {

/// Hands out the steps of one job, holds its barrier at the end of each epoch, and keeps account.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never deleted by its bases.
class JobFeed final : public StepFeed, public EventHandler {
 public:
  JobFeed(FlowEngine& engine,
          const Network& network,
          const JobPlan& job,
          std::int64_t number,
          const Disturbances& disturbances,
          RunTimeline* timeline)
      : engine_(engine),
        job_(job),
        number_(number),
        timeline_(timeline),
        group_(std::make_shared<const Communicator>(network, job.ranks)),
        handler_(engine.add_handler(*this)),
        late_(job.ranks.size()),
        outcome_{.ranks = std::vector<RankTotals>(job.ranks.size())} {
    std::size_t most = job.full->most_operations();
    const auto prepare = [&](const std::shared_ptr<const StepProgram>& program) {
      if (program != nullptr) {
        most = std::max(most, program->most_operations());
        prepared_.try_emplace(program.get(), group_, *program);
      }
    };
    prepare(job.full);
    prepare(job.last);
    for (const RareProgram& kind : job.rare) {
      prepare(kind.full);
      prepare(kind.last);
    }
    for (const std::int64_t rank : job.ranks) {
      speeds_.emplace_back(disturbances.slow_intervals(rank, 0));
    }
    executor_.emplace(engine, prepared_.at(job.full.get()).groups, speeds_, most, *this);
    epoch_begin_ = to_ticks(job.start);
    engine.at(epoch_begin_, handler_, 0);
  }

  /// All ranks begin the epoch.
  void on_event(std::uint32_t /*tag*/) override {
    epoch_begin_ = previous_step_end_ = engine_.now();
    released_ += job_.steps;
    arrived_ = 0;
    for (std::uint32_t i = 0; i < job_.ranks.size(); ++i) {
      executor_->begin(i, engine_.now());
    }
  }

  const StepWork* next_step(std::uint32_t /*position*/, std::int64_t step) override {
    const bool is_shown_whole = timeline_ != nullptr && step >= timeline_->steps;
    return step >= released_ || is_shown_whole ? nullptr : &prepared(step).work;
  }

  void step_ended(std::uint32_t position, std::int64_t step, Tick begin, Tick end) override {
    const PreparedStep& now = prepared(step);
    const RankAccount mine =
        account_rank(*now.work.program, executor_->times(), now.alone, position, begin);
    RankTotals& totals = outcome_.ranks[position];
    totals.busy += to_seconds(mine.step.communication);
    totals.exposed += to_seconds(mine.step.exposed);
    totals.wait += to_seconds(mine.step.wait);
    if (timeline_ != nullptr) {
      append_spans(*now.work.program,
                   executor_->times(),
                   now.alone,
                   position,
                   begin,
                   {.rank = job_.ranks[position], .step = step, .job = number_},
                   timeline_->spans);
    }
    Arrivals& arrivals = arrivals_[step];
    arrivals.ready.resize(job_.ranks.size());
    arrivals.ready[position] = mine.ready;
    arrivals.end = std::max(arrivals.end, end);
    if (++arrivals.count == job_.ranks.size()) {
      whole_step_ended(step, arrivals);
      arrivals_.erase(step);
    }
    if (step + 1 == released_ && ++arrived_ == job_.ranks.size()) {
      epoch_ended();
    }
  }

  [[nodiscard]] bool is_over() const {
    return std::ssize(outcome_.epochs) == job_.epochs ||
           (timeline_ != nullptr && outcome_.steps >= timeline_->steps);
  }

  [[nodiscard]] std::vector<std::string> waiting() const { return executor_->waiting(); }

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
  /// A program with what its executor and its accounting need.
  struct PreparedStep {
    PreparedStep(const std::shared_ptr<const Communicator>& group, const StepProgram& program)
        : groups((check_program(program), group), program),
          ticks(program),
          alone(program, groups),
          work{.program = &program, .ticks = &ticks} {}

    PreparedStep(const PreparedStep&) = delete;  // `work` points into it
    PreparedStep& operator=(const PreparedStep&) = delete;
    ~PreparedStep() = default;

    ProgramGroups groups;
    OperationTicks ticks;
    AloneTimes alone;
    StepWork work;
  };

  /// When the ranks were ready in a step and ended it; a rank may be ahead of another.
  struct Arrivals {
    std::vector<Tick> ready;
    Tick end = 0;
    std::size_t count = 0;
  };

  [[nodiscard]] bool is_full(std::int64_t step) const {
    return job_.last == nullptr || (step + 1) % job_.steps != 0;
  }

  [[nodiscard]] const PreparedStep& prepared(std::int64_t step) const {
    return prepared_.at(&job_.program(step));
  }

  void whole_step_ended(std::int64_t step, const Arrivals& arrivals) {
    count_late(arrivals.ready, 1, late_);
    ++outcome_.steps;
    ++outcome_.steps_computed;
    if (is_full(step)) {
      full_ticks_ += arrivals.end - previous_step_end_;
      ++full_steps_;
    }
    previous_step_end_ = arrivals.end;
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
  std::int64_t number_;
  RunTimeline* timeline_;
  std::shared_ptr<const Communicator> group_;
  std::map<const StepProgram*, PreparedStep> prepared_;
  HandlerId handler_;
  std::vector<ComputeSpeed> speeds_;
  std::optional<EventExecutor> executor_;
  std::int64_t released_ = 0;  // steps that may begin
  std::size_t arrived_ = 0;    // ranks at the barrier
  Tick epoch_begin_ = 0;
  Tick previous_step_end_ = 0;
  Tick full_ticks_ = 0;
  std::int64_t full_steps_ = 0;
  std::map<std::int64_t, Arrivals> arrivals_;  // by step
  std::vector<double> late_;
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
                                      std::span<const Disturbance> disturbances,
                                      RunTimeline* timeline) {
  std::set<std::int64_t> taken;
  for (const JobPlan& job : jobs) {
    check_plan(job);
    for (const std::int64_t rank : job.ranks) {
      if (!taken.insert(rank).second) {
        throw UserError(fmt::format("rank {} belongs to two jobs", rank));
      }
    }
  }
  const Disturbances all(network, disturbances);
  const Network at_start = all.network_at(0);
  FlowEngine engine(at_start.links());
  const LinkChanger changer(engine, all.link_changes(0));
  std::deque<JobFeed> feeds;
  for (const JobPlan& job : jobs) {
    const auto number = static_cast<std::int64_t>(feeds.size());
    feeds.emplace_back(engine, at_start, job, number, all, timeline);
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
