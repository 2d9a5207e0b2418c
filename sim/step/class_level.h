#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "sim/step/array_executor.h"
#include "sim/step/groups.h"
#include "sim/step/program.h"

namespace vitsim {

/// A program with one position for each class, however many ranks it has.
///
/// Ranks of a class are at the same place at any time where each finds what the others find: on
/// every axis a group of the same classes, in which a collective takes everybody equally long, and
/// at the other end of its messages a rank of the same class. Then groups with the same classes are
/// one group of these classes. Where links are shared the time is an estimate: groups that call at
/// once share them, messages find them free.
class ClassLevel {
 public:
  /// Nothing where ranks of a class must be told apart. `program` and `groups` are not needed
  /// afterwards.
  static std::optional<ClassLevel> make(const StepProgram& program, const ProgramGroups& groups);

  [[nodiscard]] const StepProgram& program() const { return *program_; }

  /// What a collective or transfer of a class takes when all members come at once, the overhead of
  /// the call included.
  [[nodiscard]] Tick alone(std::uint32_t of, const Operation& operation) const;

  /// Steps of the classes. This must outlive the result.
  [[nodiscard]] std::optional<ArrayExecutor> executor() const;

 private:
  using CallKey = std::tuple<std::uint32_t, std::uint32_t, CollectiveKind, Algorithm, std::int64_t>;
  using MessageKey =
      std::tuple<std::uint32_t, std::uint32_t, std::int32_t, bool, bool, std::int64_t>;

  ClassLevel() = default;

  static MessageKey key_of(std::uint32_t of, const Transfer& transfer);
  [[nodiscard]] bool add_groups(const StepProgram& program, const ProgramGroups& groups);
  [[nodiscard]] bool add_times(const StepProgram& program, const ProgramGroups& groups);
  [[nodiscard]] bool add_messages(const StepProgram& program, const ProgramGroups& groups);

  std::unique_ptr<StepProgram> program_;                          // others point to it
  std::vector<std::vector<std::vector<std::uint32_t>>> samples_;  // groups, by axis and group here
  std::map<CallKey, Tick> times_;                                 // by axis, group, call
  std::map<MessageKey, Message> messages_;
};

}  // namespace vitsim
