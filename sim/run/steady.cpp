#include "sim/run/steady.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/error.h"
#include "sim/step/event_executor.h"

namespace vitsim {

namespace {

constexpr std::size_t kSteps = 64;            // of every job, where they cost no more than
constexpr std::uint64_t kEvents = 4'000'000;  // of the engine, but at least
constexpr std::size_t kFewestSteps = 8;
constexpr std::size_t kStepsAtOnce = 1000;  // so many at one instant never end

[[noreturn]] void refuse_no_time(const JobPlan& plan) {
  throw UserError(
      fmt::format("the steps of the job on {} take no time: nothing can be said of "
                  "the jobs that share its network",
                  rank_list(plan.ranks)));
}

/// Hands out full steps until it is told to stop, and notes when they end.
class SteadyFeed final : public StepFeed {
 public:
  SteadyFeed(FlowEngine& engine,
             const Network& network,
             const SteadyJob& job,
             std::function<void()> step_over)
      : plan_(*job.plan),
        step_over_(std::move(step_over)),
        groups_(std::make_shared<const Communicator>(network, plan_.ranks), *plan_.full),
        ticks_(*plan_.full),
        work_{.program = plan_.full.get(), .ticks = &ticks_} {
    for (std::size_t i = 0; i < plan_.ranks.size(); ++i) {
      const double factor = job.slowdown.empty() ? 1 : job.slowdown[i];
      speeds_.push_back(factor == 1
                            ? ComputeSpeed()
                            : ComputeSpeed({{.from = 0, .to = kLatestTick, .factor = factor}}));
    }
    executor_.emplace(engine, groups_, speeds_, plan_.full->most_operations(), *this);
    for (std::uint32_t i = 0; i < plan_.ranks.size(); ++i) {
      executor_->begin(i, to_ticks(job.begin));
    }
  }

  const StepWork* next_step(std::uint32_t /*position*/, std::int64_t /*step*/) override {
    return stopped_ ? nullptr : &work_;
  }

  void step_ended(std::uint32_t /*position*/,
                  std::int64_t step,
                  Tick /*begin*/,
                  Tick end) override {
    std::size_t& arrived = arrived_[step];
    // What is under way when all are stopped ends beside others that have stopped already.
    if (++arrived == plan_.ranks.size() && !stopped_) {
      arrived_.erase(step);
      ends_.push_back(end);
      if (ends_.size() > kStepsAtOnce && ends_[ends_.size() - 1 - kStepsAtOnce] == end) {
        refuse_no_time(plan_);
      }
      step_over_();
    }
  }

  void stop() { stopped_ = true; }

  [[nodiscard]] std::size_t steps() const { return ends_.size(); }

  /// Over the steps behind the first quarter, in which the jobs find their places.
  [[nodiscard]] Seconds mean_step() const {
    const std::size_t first = ends_.size() / 4;
    if (ends_.back() == ends_[first]) {
      refuse_no_time(plan_);
    }
    return to_seconds(ends_.back() - ends_[first]) / static_cast<double>(ends_.size() - 1 - first);
  }

 private:
  const JobPlan& plan_;
  std::function<void()> step_over_;
  ProgramGroups groups_;
  OperationTicks ticks_;
  StepWork work_;
  std::vector<ComputeSpeed> speeds_;
  std::optional<EventExecutor> executor_;
  std::map<std::int64_t, std::size_t> arrived_;  // by step; a rank may be ahead of another
  std::vector<Tick> ends_;
  bool stopped_ = false;
};

}  // namespace

std::vector<Seconds> steady_steps(const Network& network, std::span<const SteadyJob> jobs) {
  FlowEngine engine(network.links());
  std::deque<SteadyFeed> feeds;
  const auto step_over = [&] {
    const std::size_t fewest = std::ranges::min_element(feeds, {}, &SteadyFeed::steps)->steps();
    if (fewest >= kSteps || (fewest >= kFewestSteps && engine.events() >= kEvents)) {
      std::ranges::for_each(feeds, &SteadyFeed::stop);
    }
  };
  for (const SteadyJob& job : jobs) {
    check_plan(*job.plan);
    feeds.emplace_back(engine, network, job, step_over);
  }
  engine.run();
  std::vector<Seconds> steps;
  for (const SteadyFeed& feed : feeds) {
    VITSIM_CHECK(feed.steps(), >=, kFewestSteps);
    steps.push_back(feed.mean_step());
  }
  return steps;
}

}  // namespace vitsim
