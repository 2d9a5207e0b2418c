#include "sim/step/accounting.h"

#include <algorithm>

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
      for (std::uint32_t group = 0; group < count; ++group) {
        if (count > 1 && !std::ranges::binary_search(classes[collective->axis][group], each)) {
          continue;
        }
        const Communicator& members = groups.group(collective->axis, group);
        auto [entry, fresh] = times_.try_emplace(
            {collective->axis, group, collective->kind, collective->algorithm, collective->bytes});
        const auto same = fresh && count > 1 ? groups.together(*collective, group) : std::nullopt;
        if (same) {
          entry->second.assign(members.size(), *same + program.collective_overhead);
        } else if (fresh) {
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
        direct_[each][i] = count == 1 ? &entry->second : nullptr;
      }
    }
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
    const bool computes = operations[i].compute() != nullptr;
    scratch.push_back({.stream = computes ? operations[i].stream : Stream::kCommunication,
                       .phase = operations[i].phase,
                       .begin = times.begins(i)[position],
                       .end = times.ends(i)[position],
                       .alone = computes ? 0 : alone.at(position, i)});
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
        result.ready = std::max(result.ready, scratch[i].end);
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
