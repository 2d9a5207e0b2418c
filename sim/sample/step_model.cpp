#include "sim/sample/step_model.h"

#include <algorithm>
#include <cmath>

#include "sim/run/spans.h"
#include "sim/step/communication_rows.h"

namespace vitsim {

namespace {

/// One step: from starts to ends, which may be the same.
using RunStep = std::function<void(std::span<const Tick> starts, std::span<Tick> ends)>;

/// Steps until one repeats the offsets with which it began; then every further one takes as long.
/// `starts` are those of the first step, then of the next one.
double settled_step_s(std::vector<Tick>& starts, int warm_up, int measured, const RunStep& run) {
  std::vector<Tick> ends(starts.size());
  Tick begin = 0;
  for (int step = 0; step < warm_up + measured; ++step) {
    if (step == warm_up) {
      begin = *std::ranges::max_element(starts);
    }
    run(starts, ends);
    const Tick shift = ends.front() - starts.front();
    bool repeats = true;
    for (std::size_t i = 1; repeats && i < starts.size(); ++i) {
      repeats = ends[i] - starts[i] == shift;
    }
    starts.swap(ends);
    if (repeats) {
      return to_seconds(shift).value();
    }
  }
  return to_seconds(*std::ranges::max_element(starts) - begin).value() / measured;
}

/// The program of a job by classes, on the network of `group`; nothing where ranks must be told
/// apart.
std::optional<ClassLevel> class_level(const StepProgram& program,
                                      const std::shared_ptr<const Communicator>& group) {
  return ClassLevel::make(program, ProgramGroups(group, program));
}

}  // namespace

StepModel::StepModel(const ResolvedJob& job) : job_(job) {
  level_ = class_level(*job.full, job.group);
  if (auto executor = level_ ? level_->executor() : std::nullopt) {
    classes_ = std::make_unique<ArrayExecutor>(std::move(*executor));
  } else {
    ranks_ = std::make_unique<StepExecutor>(job.group, *job.full);
  }
}

StepExecutor& StepModel::rank_executor() const {
  if (ranks_ == nullptr) {
    ranks_ = std::make_unique<StepExecutor>(job_.group, *job_.full);
  }
  return *ranks_;
}

const StepModel::Offsets& StepModel::settled_offsets() const {
  if (!offsets_) {
    const StepProgram& program = by_classes() ? level_->program() : *job_.full;
    const OperationTicks ticks(program);
    Offsets found{.starts = std::vector<Tick>(program.positions(), 0)};
    found.step_s = settled_step_s(found.starts, kWarmUp, kMeasured, [&](auto starts, auto ends) {
      by_classes() ? classes_->run(ticks, starts, {}, ends) : ranks_->run(ticks, starts, ends);
    });
    // On a clock that begins with the first of them.
    const Tick first = *std::ranges::min_element(found.starts);
    for (Tick& start : found.starts) {
      start -= first;
    }
    offsets_ = std::move(found);
  }
  return *offsets_;
}

double StepModel::step_s(std::span<const double> class_factors) const {
  if (class_factors.empty()) {
    return settled_offsets().step_s;
  }
  std::vector<Tick> from = settled_offsets().starts;
  const OperationTicks ticks(by_classes() ? level_->program() : *job_.full, class_factors);
  return settled_step_s(from, kWarmUp, kMeasured, [&](auto starts, auto ends) {
    by_classes() ? classes_->run(ticks, starts, {}, ends) : ranks_->run(ticks, starts, ends);
  });
}

double StepModel::step_with_rank_s(std::size_t position, double factor) const {
  std::vector<double> factors(job_.world_size(), 1.0);
  factors[position] = factor;
  const OperationTicks ticks = OperationTicks::by_position(*job_.full, factors);
  std::vector<Tick> from(job_.world_size(), 0);
  return settled_step_s(
      from, kWarmUp, 1, [&](auto starts, auto ends) { rank_executor().run(ticks, starts, ends); });
}

double StepModel::step_on_slower_network_s(double factor) const {
  const Network slow = job_.network->slowed(factor);
  const auto group = std::make_shared<const Communicator>(slow, job_.ranks());
  if (by_classes()) {
    const std::optional<ClassLevel> level = class_level(*job_.full, group);
    if (auto executor = level ? level->executor() : std::nullopt) {
      const OperationTicks ticks(level_->program());
      std::vector<Tick> from = settled_offsets().starts;
      return settled_step_s(from, kWarmUp, 1, [&](auto starts, auto ends) {
        executor->run(ticks, starts, {}, ends);
      });
    }
  }
  StepExecutor executor(group, *job_.full);
  const OperationTicks ticks(*job_.full);
  std::vector<Tick> from(job_.world_size(), 0);
  if (!by_classes()) {
    from = settled_offsets().starts;
  }
  return settled_step_s(
      from, kWarmUp, 1, [&](auto starts, auto ends) { executor.run(ticks, starts, ends); });
}

double StepModel::short_step_s() const {
  if (by_classes()) {
    // The short step may deal unequal samples to ranks of a class: it has classes of its own.
    const std::optional<ClassLevel> last = class_level(*job_.last, job_.group);
    if (auto executor = last ? last->executor() : std::nullopt) {
      const OperationTicks last_ticks(last->program());
      const std::vector<Tick>& starts = settled_offsets().starts;
      std::vector<Tick> ends;
      for (const std::uint32_t of : job_.last_classes) {
        ends.push_back(starts[of]);
      }
      executor->run(last_ticks, ends, {}, ends);
      return to_seconds(*std::ranges::max_element(ends) - *std::ranges::max_element(starts))
          .value();
    }
  }
  std::vector<Tick> starts(job_.world_size(), 0);
  if (by_classes()) {
    const OperationTicks full_ticks(*job_.full);
    for (int step = 0; step < kWarmUp; ++step) {
      rank_executor().run(full_ticks, starts, starts);
    }
  } else {
    starts = settled_offsets().starts;
  }
  StepExecutor last(job_.group, *job_.last);
  const OperationTicks last_ticks(*job_.last);
  const Tick begin = *std::ranges::max_element(starts);
  last.run(last_ticks, starts, starts);
  return to_seconds(*std::ranges::max_element(starts) - begin).value();
}

Tick StepModel::noisy_step(const std::vector<double>& factors, std::vector<Tick>& starts) const {
  const OperationTicks ticks = OperationTicks::by_position(*job_.full, factors);
  rank_executor().run(ticks, starts, starts);
  return *std::ranges::max_element(starts);
}

StepModel::Scatter StepModel::scatter_of(const std::vector<double>& seen) {
  Scatter result;
  const auto count = static_cast<double>(seen.size());
  for (const double step : seen) {
    result.mean_s += step / count;
  }
  for (const double step : seen) {
    result.sigma_s += (step - result.mean_s) * (step - result.mean_s) / (count - 1);
  }
  result.sigma_s = std::sqrt(result.sigma_s);
  return result;
}

StepTimes StepModel::settled_times() const {
  const OperationTicks ticks(program());
  const std::vector<Tick>& starts = settled_offsets().starts;
  StepTimes times(program().positions(), program().most_operations());
  if (by_classes()) {
    classes_->run(ticks, starts, {}, times.step_end, &times);
  } else {
    ranks_->run(ticks, starts, times.step_end, &times);
  }
  return times;
}

AloneTimes StepModel::alone_times() const {
  if (!by_classes()) {
    return {program(), ranks_->groups()};
  }
  return {program(), [this](std::uint32_t of, const Operation& operation) {
            return level_->alone(of, operation);
          }};
}

std::vector<Span> StepModel::settled_spans(std::span<const std::uint32_t> positions) const {
  const std::vector<Tick>& starts = settled_offsets().starts;
  const StepTimes times = settled_times();
  const AloneTimes alone = alone_times();
  std::vector<Span> spans;
  for (const std::uint32_t position : positions) {
    append_spans(program(), times, alone, position, starts[position], {.rank = position}, spans);
  }
  return spans;
}

StepModel::Settled StepModel::settled(std::optional<std::size_t> most) const {
  const StepProgram& program = this->program();
  const std::size_t positions = program.positions();
  const std::vector<Tick>& starts = settled_offsets().starts;
  const StepTimes times = settled_times();
  Settled result{.begin = *std::ranges::max_element(starts)};
  // A stride that no size of node divides, so that every place in a node is seen.
  std::vector<std::size_t> stride(job_.classes.size(), 1);
  for (std::size_t of = 0; most && !by_classes() && of < stride.size(); ++of) {
    stride[of] =
        std::max<std::size_t>(1, static_cast<std::size_t>(job_.classes[of].count) / *most) | 1U;
  }
  std::vector<std::size_t> seen(job_.classes.size(), 0);
  for (std::uint32_t i = 0; i < positions; ++i) {
    const std::size_t of = class_of(i);
    if (seen[of]++ % stride[of] == 0) {
      result.positions.push_back(i);
    }
  }
  const AloneTimes alone = alone_times();
  result.accounts.reserve(result.positions.size());
  std::vector<double> accounted(job_.classes.size(), 0);
  for (const std::uint32_t i : result.positions) {
    accounted[class_of(i)] += 1;
  }
  CommunicationRows rows(program);
  std::vector<OperationTime> operations;
  std::vector<std::int64_t> exposed;
  std::vector<double> busy_s;
  std::vector<double> exposed_s;
  for (const std::uint32_t i : result.positions) {
    result.accounts.push_back(account_rank(program, times, alone, i, starts[i]));
    operation_times(program, times, alone, i, operations);
    account(operations, starts[i], times.step_end[i], &exposed);
    busy_s.clear();
    exposed_s.clear();
    for (std::size_t k = 0; k < operations.size(); ++k) {
      busy_s.push_back(to_seconds(operations[k].alone).value());
      exposed_s.push_back(to_seconds(exposed[k]).value());
    }
    const std::size_t of = class_of(i);
    rows.add(program.class_of[i],
             static_cast<double>(job_.classes[of].count) / static_cast<double>(job_.world_size()) /
                 accounted[of],
             busy_s,
             exposed_s);
  }
  result.communication = rows.rows(*job_.group, job_.training.all_reduce);
  return result;
}

}  // namespace vitsim
