#pragma once

#include <functional>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "models/report/accounting.h"
#include "sim/step/groups.h"
#include "sim/step/program.h"
#include "sim/step/step_times.h"

namespace vitsim {

/// What every collective and transfer of a program takes when all members join at once, the
/// overhead of the call included; where an axis has several groups, all of them at once.
class AloneTimes {
 public:
  AloneTimes(const StepProgram& program, const ProgramGroups& groups);

  /// Of collectives and transfers that take all ranks of a class the same time.
  using TimeOfClass = std::function<Tick(std::uint32_t of, const Operation&)>;
  AloneTimes(const StepProgram& program, const TimeOfClass& time);

  [[nodiscard]] Tick at(std::uint32_t position, std::size_t operation) const;

 private:
  /// Times of the groups of an axis in which class `of` is; `classes` are those of each group.
  void add_groups(const Collective& collective,
                  const std::vector<std::vector<std::uint32_t>>& classes,
                  std::uint32_t of);
  void add_all_groups(const Collective& collective);
  [[nodiscard]] bool everybody_calls(const Collective& collective) const;

  const StepProgram& program_;
  const ProgramGroups* groups_ = nullptr;  // none: the same for every member
  using Key = std::tuple<std::uint32_t, std::uint32_t, CollectiveKind, Algorithm, std::int64_t>;
  std::map<Key, std::vector<Tick>> times_;  // by axis, group and call: by member
  // By class and operation where the axis is one group: its entry of `times_`.
  std::vector<std::vector<const std::vector<Tick>*>> direct_;
  std::vector<std::vector<Tick>> same_;  // by class and operation, without groups
};

/// One rank's step: where its time went, and when it had done what the others wait for.
struct RankAccount {
  StepAccount step;
  Tick ready = 0;     // its compute before the update would be over, had it waited for nobody
  Tick sync_end = 0;  // it begins the update
};

/// The operations of one position's step with their times; `scratch` is cleared first.
void operation_times(const StepProgram& program,
                     const StepTimes& times,
                     const AloneTimes& alone,
                     std::uint32_t position,
                     std::vector<OperationTime>& scratch);

/// Accounts one position's step, which began at `begin`.
RankAccount account_rank(const StepProgram& program,
                         const StepTimes& times,
                         const AloneTimes& alone,
                         std::uint32_t position,
                         Tick begin);

/// Adds one step to the late counts: those whose readiness is the latest share it.
void count_late(std::span<const Tick> ready, double steps, std::span<double> late_steps);

}  // namespace vitsim
