#include "sim/step/accounting.h"

#include <algorithm>

#include "sim/step/step_executor.h"

namespace vitsim {

AloneTimes::AloneTimes(const StepProgram& program, const ProgramGroups& groups)
    : program_(program), groups_(&groups), direct_(program.classes.size()) {
  std::vector<std::vector<std::vector<std::uint32_t>>> classes(program.axes.size());
  for (std::uint32_t axis = 0; axis < program.axes.size(); ++axis) {
    const std::size_t count = groups.group_count(axis);
    for (std::uint32_t group = 0; count > 1 && group < count; ++group) {
      classes[axis].push_back(groups.classes_in(axis, group));
    }
  }
  for (std::size_t each = 0; each < program.classes.size(); ++each) {
    const std::vector<Operation>& operations = program.classes[each].operations;
    direct_[each].resize(operations.size());
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const Collective* collective = operations[i].collective();
      if (collective == nullptr) {
        continue;
      }
      const std::size_t count = groups.group_count(collective->axis);
      if (count > 1) {
        add_groups(*collective, classes[collective->axis], static_cast<std::uint32_t>(each));
        continue;
      }
      auto [entry, fresh] = times_.try_emplace(
          {collective->axis, 0, collective->kind, collective->algorithm, collective->bytes});
      if (fresh) {
        const Communicator& members = groups.group(collective->axis, 0);
        const std::vector<Tick> together(members.size(), program.collective_overhead);
        if (auto arrays = members.arrays_or_estimate(
                collective->kind, collective->algorithm, collective->bytes)) {
          entry->second.resize(together.size());
          arrays->run(together, entry->second);
        } else {
          entry->second =
              members.run(collective->kind, collective->algorithm, collective->bytes, together);
        }
      }
      direct_[each][i] = &entry->second;
    }
  }
}

void AloneTimes::add_groups(const Collective& collective,
                            const std::vector<std::vector<std::uint32_t>>& classes,
                            std::uint32_t of) {
  for (std::uint32_t group = 0; group < classes.size(); ++group) {
    if (!std::ranges::binary_search(classes[group], of)) {
      continue;
    }
    const Key key(collective.axis, group, collective.kind, collective.algorithm, collective.bytes);
    if (times_.contains(key)) {
      continue;
    }
    const Communicator& members = groups_->group(collective.axis, group);
    if (const auto same = groups_->together(collective, group)) {
      times_[key].assign(members.size(), *same + program_.collective_overhead);
    } else if (everybody_calls(collective)) {
      add_all_groups(collective);
    } else {
      const std::vector<Tick> together(members.size(), program_.collective_overhead);
      times_[key] = members.run(collective.kind, collective.algorithm, collective.bytes, together);
    }
  }
}

bool AloneTimes::everybody_calls(const Collective& collective) const {
  return std::ranges::all_of(program_.classes, [&](const ClassProgram& each) {
    return std::ranges::any_of(each.operations, [&](const Operation& operation) {
      const Collective* call = operation.collective();
      return call != nullptr && call->axis == collective.axis && call->kind == collective.kind &&
             call->algorithm == collective.algorithm && call->bytes == collective.bytes;
    });
  });
}

/// Groups of one axis do the same at the same time, over links that they may share: what each of
/// them takes is what it takes beside the others.
void AloneTimes::add_all_groups(const Collective& collective) {
  const auto key = [&](std::uint32_t group) {
    return Key(collective.axis, group, collective.kind, collective.algorithm, collective.bytes);
  };
  if (times_.contains(key(0))) {
    return;
  }
  StepProgram one{.class_of = std::vector<std::uint32_t>(program_.positions(), 0),
                  .axes = program_.axes,
                  .collective_overhead = program_.collective_overhead};
  one.classes.push_back(
      {.operations = {{.stream = Stream::kCommunication,
                       .phase = Phase::kGradientAllReduce,
                       .what = collective},
                      {.phase = Phase::kOptimizer, .what = Compute{}, .after = {0}}},
       .update = 1});
  StepExecutor executor(groups_->everybody(), one);
  const std::vector<Tick> starts(program_.positions(), 0);
  std::vector<Tick> ends(starts.size());
  StepTimes times = executor.make_times();
  executor.run(OperationTicks(one), starts, ends, &times);
  for (std::uint32_t position = 0; position < program_.positions(); ++position) {
    const GroupPlace where = groups_->place(collective.axis, position);
    std::vector<Tick>& mine = times_[key(where.group)];
    mine.resize(groups_->group(collective.axis, where.group).size());
    mine[where.index] = times.ends(0)[position];
  }
}

AloneTimes::AloneTimes(const StepProgram& program, const TimeOfClass& time) : program_(program) {
  for (std::uint32_t of = 0; of < program.classes.size(); ++of) {
    std::vector<Tick>& times = same_.emplace_back();
    for (const Operation& operation : program.classes[of].operations) {
      times.push_back(operation.compute() != nullptr ? 0 : time(of, operation));
    }
  }
}

Tick AloneTimes::at(std::uint32_t position, std::size_t operation) const {
  const std::uint32_t of = program_.class_of[position];
  if (groups_ == nullptr) {
    return same_[of][operation];
  }
  if (const std::vector<Tick>* direct = direct_[of][operation]) {
    const Collective& collective = *program_.classes[of].operations[operation].collective();
    return (*direct)[groups_->place(collective.axis, position).index];
  }
  const Operation& mine = program_.classes[of].operations[operation];
  if (const Collective* collective = mine.collective()) {
    const GroupPlace where = groups_->place(collective->axis, position);
    return times_.at({collective->axis,
                      where.group,
                      collective->kind,
                      collective->algorithm,
                      collective->bytes})[where.index];
  }
  const Transfer* transfer = mine.transfer();
  return transfer == nullptr ? 0 : groups_->message_alone(*transfer, position);
}

void operation_times(const StepProgram& program,
                     const StepTimes& times,
                     const AloneTimes& alone,
                     std::uint32_t position,
                     std::vector<OperationTime>& scratch) {
  const std::vector<Operation>& operations = program.of(position).operations;
  scratch.clear();
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Tick begin = times.begins(i)[position];
    const Tick end = times.ends(i)[position];
    const Stream stream = operations[i].stream;
    // Copies between host and device wait for nobody.
    const bool copies = stream == Stream::kCopy;
    const bool computes = operations[i].compute() != nullptr && !copies;
    scratch.push_back({.stream = computes ? stream : Stream::kCommunication,
                       .phase = operations[i].phase,
                       .begin = begin,
                       .end = end,
                       .alone = computes ? 0
                                : copies ? end - begin
                                         : alone.at(position, i)});
  }
}

RankAccount account_rank(const StepProgram& program,
                         const StepTimes& times,
                         const AloneTimes& alone,
                         std::uint32_t position,
                         Tick begin) {
  thread_local std::vector<OperationTime> scratch;
  operation_times(program, times, alone, position, scratch);
  RankAccount result{
      .step = account(scratch, begin, times.step_end[position]), .ready = begin, .sync_end = begin};
  const ClassProgram& mine = program.of(position);
  if (!scratch.empty()) {
    result.sync_end = scratch[mine.update].begin;
    for (std::size_t i = 0; i < mine.update; ++i) {
      if (scratch[i].stream != Stream::kCommunication) {
        result.ready += scratch[i].end - scratch[i].begin;
      }
    }
  }
  return result;
}

void count_late(std::span<const Tick> ready, double steps, std::span<double> late_steps) {
  const Tick latest = *std::ranges::max_element(ready);
  const auto sharers = static_cast<double>(std::ranges::count(ready, latest));
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (ready[i] == latest) {
      late_steps[i] += steps / sharers;
    }
  }
}

}  // namespace vitsim
