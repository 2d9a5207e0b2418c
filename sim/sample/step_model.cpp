#include "sim/sample/step_model.h"

#include <algorithm>
#include <cmath>

namespace vitsim {

namespace {

/// One step: from starts to ends, which may be the same.
using RunStep = std::function<void(std::span<const Tick> starts, std::span<Tick> ends)>;

/// Steps until one repeats the offsets with which it began; then every further one takes as long.
double settled_step_s(std::size_t positions, int warm_up, int measured, const RunStep& run) {
  std::vector<Tick> starts(positions, 0);
  std::vector<Tick> ends(positions);
  Tick begin = 0;
  for (int step = 0; step < warm_up + measured; ++step) {
    if (step == warm_up) {
      begin = *std::ranges::max_element(starts);
    }
    run(starts, ends);
    const Tick shift = ends.front() - starts.front();
    bool repeats = true;
    for (std::size_t i = 1; repeats && i < positions; ++i) {
      repeats = ends[i] - starts[i] == shift;
    }
    if (repeats) {
      return to_seconds(shift).value();
    }
    starts.swap(ends);
  }
  return to_seconds(*std::ranges::max_element(starts) - begin).value() / measured;
}

/// The program with one position for each class.
std::shared_ptr<StepProgram> class_level(const StepProgram& program) {
  auto result = std::make_shared<StepProgram>(program);
  result->class_of.clear();
  for (std::uint32_t i = 0; i < program.classes.size(); ++i) {
    result->class_of.push_back(i);
  }
  return result;
}

std::optional<ArrayExecutor> class_executor(const StepProgram& program, TogetherTimes& together) {
  const bool one_group =
      program.axes.empty() || (program.axes.size() == 1 && program.axes[0].groups.empty());
  if (!one_group) {
    return std::nullopt;
  }
  return ArrayExecutor::make_of_classes(
      program,
      [&](const Collective& collective, std::uint32_t /*group*/) -> std::optional<CallTimer> {
        const auto time = together.at(collective);
        return time ? std::optional(CallTimer(*time)) : std::nullopt;
      });
}

}  // namespace

StepModel::StepModel(const ResolvedJob& job) : job_(job), together_(*job.group) {
  class_program_ = class_level(*job.full);
  if (auto executor = class_executor(*class_program_, together_)) {
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

double StepModel::step_s(std::span<const double> class_factors) const {
  if (by_classes()) {
    const OperationTicks ticks(*class_program_, class_factors);
    return settled_step_s(
        class_program_->positions(), kWarmUp, kMeasured, [&](auto starts, auto ends) {
          classes_->run(ticks, starts, {}, ends);
        });
  }
  const OperationTicks ticks(*job_.full, class_factors);
  return settled_step_s(job_.world_size(), kWarmUp, kMeasured, [&](auto starts, auto ends) {
    ranks_->run(ticks, starts, ends);
  });
}

double StepModel::step_with_rank_s(std::size_t position, double factor) const {
  std::vector<double> factors(job_.world_size(), 1.0);
  factors[position] = factor;
  const OperationTicks ticks = OperationTicks::by_position(*job_.full, factors);
  return settled_step_s(job_.world_size(), kWarmUp, 1, [&](auto starts, auto ends) {
    rank_executor().run(ticks, starts, ends);
  });
}

double StepModel::step_on_slower_network_s(double factor) const {
  const Network slow = job_.network->slowed(factor);
  const auto group = std::make_shared<const Communicator>(slow, job_.ranks());
  if (by_classes()) {
    TogetherTimes together(*group);
    auto executor = class_executor(*class_program_, together);
    if (executor) {
      const OperationTicks ticks(*class_program_);
      return settled_step_s(class_program_->positions(), kWarmUp, 1, [&](auto starts, auto ends) {
        executor->run(ticks, starts, {}, ends);
      });
    }
  }
  StepExecutor executor(group, *job_.full);
  const OperationTicks ticks(*job_.full);
  return settled_step_s(job_.world_size(), kWarmUp, 1, [&](auto starts, auto ends) {
    executor.run(ticks, starts, ends);
  });
}

double StepModel::short_step_s() const {
  if (by_classes()) {
    // The short step may deal unequal samples to ranks of a class: it has classes of its own.
    const std::shared_ptr<StepProgram> last = class_level(*job_.last);
    if (auto executor = class_executor(*last, together_)) {
      const OperationTicks full_ticks(*class_program_);
      const OperationTicks last_ticks(*last);
      std::vector<Tick> starts(class_program_->positions(), 0);
      for (int step = 0; step < kWarmUp; ++step) {
        classes_->run(full_ticks, starts, {}, starts);
      }
      std::vector<Tick> ends;
      for (const std::uint32_t of : job_.last_classes) {
        ends.push_back(starts[of]);
      }
      executor->run(last_ticks, ends, {}, ends);
      return to_seconds(*std::ranges::max_element(ends) - *std::ranges::max_element(starts))
          .value();
    }
  }
  StepExecutor& full = rank_executor();
  StepExecutor last(job_.group, *job_.last);
  const OperationTicks full_ticks(*job_.full);
  const OperationTicks last_ticks(*job_.last);
  std::vector<Tick> starts(job_.world_size(), 0);
  for (int step = 0; step < kWarmUp; ++step) {
    full.run(full_ticks, starts, starts);
  }
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

StepModel::Settled StepModel::settled() const {
  const StepProgram& program = by_classes() ? *class_program_ : *job_.full;
  const std::size_t positions = program.positions();
  const OperationTicks ticks(program);
  std::vector<Tick> starts(positions, 0);
  StepTimes times(positions, program.most_operations());
  const auto run = [&](StepTimes* into, std::span<Tick> ends) {
    if (by_classes()) {
      classes_->run(ticks, starts, {}, ends, into);
    } else {
      ranks_->run(ticks, starts, ends, into);
    }
  };
  for (int step = 0; step < kWarmUp; ++step) {
    run(nullptr, starts);
  }
  Settled result{.begin = *std::ranges::max_element(starts)};
  run(&times, times.step_end);
  result.accounts.reserve(positions);
  if (by_classes()) {
    const AloneTimes alone(program, [&](const Collective& collective) {
      return *together_.at(collective) + program.collective_overhead;
    });
    for (std::uint32_t i = 0; i < positions; ++i) {
      result.accounts.push_back(account_rank(program, times, alone, i, starts[i]));
    }
    return result;
  }
  const AloneTimes alone(program, ranks_->groups());
  for (std::uint32_t i = 0; i < positions; ++i) {
    result.accounts.push_back(account_rank(program, times, alone, i, starts[i]));
  }
  return result;
}

}  // namespace vitsim
