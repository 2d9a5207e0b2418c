#include "sim/step/class_level.h"

#include <algorithm>

namespace vitsim {

namespace {

// Groups that are looked at to tell what a collective takes in all that have the same classes.
constexpr std::size_t kMostSamples = 4;

template <class T>
std::vector<T> spread(const std::vector<T>& all) {
  std::vector<T> few;
  const std::size_t count = std::min(kMostSamples, all.size());
  for (std::size_t i = 0; i < count; ++i) {
    few.push_back(all[i * (all.size() - 1) / std::max<std::size_t>(count - 1, 1)]);
  }
  return few;
}

}  // namespace

ClassLevel::MessageKey ClassLevel::key_of(std::uint32_t of, const Transfer& transfer) {
  return {of,
          transfer.axis,
          transfer.distance,
          transfer.around,
          transfer.direction == Transfer::Direction::kSend,
          transfer.bytes};
}

std::optional<ClassLevel> ClassLevel::make(const StepProgram& program,
                                           const ProgramGroups& groups) {
  ClassLevel level;
  level.program_ = std::make_unique<StepProgram>(
      StepProgram{.classes = program.classes,
                  .class_of = {},
                  .axes = {},
                  .collective_overhead = program.collective_overhead});
  for (std::uint32_t of = 0; of < program.classes.size(); ++of) {
    level.program_->class_of.push_back(of);
  }
  const bool is_told = level.add_groups(program, groups) && level.add_times(program, groups) &&
                       level.add_messages(program, groups);
  return is_told ? std::optional(std::move(level)) : std::nullopt;
}

bool ClassLevel::add_groups(const StepProgram& program, const ProgramGroups& groups) {
  for (std::uint32_t axis = 0; axis < program.axes.size(); ++axis) {
    std::map<std::vector<std::uint32_t>, std::vector<std::uint32_t>> kinds;
    for (std::uint32_t group = 0; group < groups.group_count(axis); ++group) {
      kinds[groups.classes_in(axis, group)].push_back(group);
    }
    GroupAxis& mine = program_->axes.emplace_back(GroupAxis{.name = program.axes[axis].name});
    auto& samples = samples_.emplace_back();
    std::vector<bool> seen(program.classes.size());
    for (const auto& [classes, members] : kinds) {
      for (const std::uint32_t of : classes) {
        if (seen[of]) {
          return false;  // some of the class meet others than the rest
        }
        seen[of] = true;
      }
      mine.groups.push_back(classes);
      samples.push_back(spread(members));
    }
  }
  return true;
}

bool ClassLevel::add_times(const StepProgram& program, const ProgramGroups& groups) {
  std::vector<std::vector<GroupPlace>> places;
  for (const GroupAxis& axis : program_->axes) {
    places.push_back(group_places(axis, program_->positions()));
  }
  for (std::uint32_t of = 0; of < program.classes.size(); ++of) {
    for (const Operation& operation : program.classes[of].operations) {
      const Collective* collective = operation.collective();
      if (collective == nullptr) {
        continue;
      }
      const std::uint32_t group = places[collective->axis][of].group;
      const auto [entry, fresh] = times_.try_emplace(
          {collective->axis, group, collective->kind, collective->algorithm, collective->bytes});
      if (!fresh) {
        continue;
      }
      for (const std::uint32_t sample : samples_[collective->axis][group]) {
        const auto time = groups.together(*collective, sample);
        if (!time) {
          return false;
        }
        entry->second = std::max(entry->second, *time);
      }
    }
  }
  return true;
}

bool ClassLevel::add_messages(const StepProgram& program, const ProgramGroups& groups) {
  std::vector<std::vector<std::uint32_t>> positions(program.classes.size());
  for (std::uint32_t i = 0; i < program.positions(); ++i) {
    positions[program.class_of[i]].push_back(i);
  }
  for (std::uint32_t of = 0; of < program.classes.size(); ++of) {
    for (const Operation& operation : program.classes[of].operations) {
      const Transfer* transfer = operation.transfer();
      if (transfer == nullptr) {
        continue;
      }
      const auto [entry, fresh] = messages_.try_emplace(key_of(of, *transfer));
      if (!fresh) {
        continue;
      }
      entry->second.peer = program.class_of[groups.peer(*transfer, positions[of].front())];
      for (const std::uint32_t position : positions[of]) {
        if (program.class_of[groups.peer(*transfer, position)] != entry->second.peer) {
          return false;
        }
      }
      for (const std::uint32_t position : spread(positions[of])) {
        entry->second.duration =
            std::max(entry->second.duration, groups.message_alone(*transfer, position));
      }
    }
  }
  return true;
}

Tick ClassLevel::alone(std::uint32_t of, const Operation& operation) const {
  if (const Transfer* transfer = operation.transfer()) {
    return messages_.at(key_of(of, *transfer)).duration;
  }
  const Collective* collective = operation.collective();
  if (collective == nullptr) {
    return 0;
  }
  const auto& groups = program_->axes[collective->axis].groups;
  std::uint32_t group = 0;
  while (!std::ranges::binary_search(groups[group], of)) {
    ++group;
  }
  return program_->collective_overhead +
         times_.at(
             {collective->axis, group, collective->kind, collective->algorithm, collective->bytes});
}

std::optional<ArrayExecutor> ClassLevel::executor() const {
  return ArrayExecutor::make_of_classes(
      *program_,
      [this](const Collective& collective, std::uint32_t group) -> std::optional<CallTimer> {
        return CallTimer(times_.at(
            {collective.axis, group, collective.kind, collective.algorithm, collective.bytes}));
      },
      [this](const Transfer& transfer, std::uint32_t position) {
        return messages_.at(key_of(position, transfer));
      });
}

}  // namespace vitsim
