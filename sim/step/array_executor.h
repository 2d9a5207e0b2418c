#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "sim/step/compute_speed.h"
#include "sim/step/groups.h"
#include "sim/step/program.h"
#include "sim/step/step_times.h"

namespace vitsim {

/// When a collective ends on each member, given when each takes part: by arrays, or the same time
/// after the last has come.
class CallTimer {
 public:
  explicit CallTimer(ArrayCollective arrays) : arrays_(std::move(arrays)) {
    together_ = arrays_->uniform();
  }

  explicit CallTimer(Tick together) : together_(together) {}

  /// `ends` may be `starts`.
  void run(std::span<const Tick> starts, std::span<Tick> ends);

 private:
  std::optional<ArrayCollective> arrays_;
  std::optional<Tick> together_;
};

/// Where a transfer of a position goes to or comes from, and what it takes.
struct Message {
  std::uint32_t peer = 0;
  Tick duration = 0;
};

/// Steps of a program without events: recurrences over the operations, all ranks that do the same
/// at once. Exact, to the tick, where collectives have their links to themselves; programs whose
/// axes have several groups that share links are estimated (ProgramGroups::together).
///
/// Not thread-safe: it owns scratch memory.
class ArrayExecutor {
 public:
  /// Ends of a collective among the members of one group; nothing where only events can tell.
  using TimerOf = std::function<std::optional<CallTimer>(const Collective&, std::uint32_t group)>;

  /// The other end of a transfer.
  using MessageOf = std::function<Message(const Transfer&, std::uint32_t position)>;

  /// Nothing where some collective needs events. `program` and `groups` must outlive the result.
  static std::optional<ArrayExecutor> make(const StepProgram& program, const ProgramGroups& groups);

  /// Positions stand for whole classes: every collective takes what `timer` says, and every
  /// transfer what `message` does.
  static std::optional<ArrayExecutor> make_of_classes(const StepProgram& program,
                                                      const TimerOf& timer,
                                                      MessageOf message);

  /// One step from each position's start; `speeds` by position, or empty where nothing changes
  /// them. Fills `step_end`, which may be `starts`, and, where given, the times of all operations.
  /// Throws InternalError with ranks, operations and what they wait for where the step does not
  /// end.
  void run(const OperationTicks& ticks,
           std::span<const Tick> starts,
           std::span<const ComputeSpeed> speeds,
           std::span<Tick> step_end,
           StepTimes* times = nullptr);

 private:
  static constexpr std::size_t kStreams = kStreamNames.size();

  /// Positions that do the same operations and go through them together.
  struct Lane {
    const ClassProgram* program = nullptr;
    std::vector<std::uint32_t> positions;
    bool is_everybody = false;             // positions 0, 1, 2, ... of the whole program
    std::vector<bool> is_saved;            // by operation: needed when its stream has gone on
    std::vector<std::vector<Tick>> saved;  // by operation: ends, by index in `positions`
    std::vector<std::uint32_t> call;       // by operation: number among its axis's collectives
    std::vector<bool> known;               // by operation, in the running step
    std::size_t next = 0;
    std::vector<std::size_t> pending;  // operations before `next` that are not known
  };

  /// One collective of one group in the running step.
  struct Call {
    std::vector<Tick> begins;  // by member
    std::size_t arrived = 0;
    bool done = false;
  };

  using CallKey = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;  // axis, group, call
  using PairKey = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;  // axis, from, to

  explicit ArrayExecutor(const StepProgram& program);

  [[nodiscard]] bool can_tell_what_runs_beside() const;
  [[nodiscard]] bool add_timers(const TimerOf& timer);
  void make_lanes();
  bool advance(Lane& lane);
  [[nodiscard]] bool is_plain(const Lane& lane, std::size_t operation) const;
  void compute_plainly(const Lane& lane, std::size_t operation);
  void communicate_plainly(const Lane& lane, std::size_t operation);
  [[nodiscard]] std::vector<const Tick*> waited_for(const Lane& lane, std::size_t operation) const;
  [[nodiscard]] bool can_run(const Lane& lane, std::size_t operation) const;
  void compute(Lane& lane, std::size_t operation);
  void arrive(Lane& lane, std::size_t operation);
  bool complete(Lane& lane, std::size_t operation);
  void send(Lane& lane, std::size_t operation);
  bool receive(Lane& lane, std::size_t operation);
  [[nodiscard]] Tick begin_of(const Lane& lane, std::size_t operation, std::size_t index) const;
  void mark_busy(std::uint32_t position, Tick begin, Tick end);
  void note(Lane& lane, std::size_t operation, std::size_t index, Tick begin, Tick end);
  [[noreturn]] void fail_stuck() const;
  [[nodiscard]] GroupPlace place(std::uint32_t axis, std::uint32_t position) const;
  [[nodiscard]] std::size_t group_size(std::uint32_t axis, std::uint32_t group) const;

  const StepProgram& program_;
  std::vector<std::vector<GroupPlace>> places_;  // by axis and position; empty: one group
  MessageOf message_;
  bool slows_beside_ = false;  // some compute is slower beside communication
  std::vector<Lane> lanes_;
  std::map<std::tuple<CollectiveKind, Algorithm, std::int64_t, std::uint32_t, std::uint32_t>,
           CallTimer>
      timers_;  // by kind, algorithm, bytes, axis, group

  // Of the running step.
  const OperationTicks* ticks_ = nullptr;
  std::span<const ComputeSpeed> speeds_;
  StepTimes* times_ = nullptr;
  std::array<std::vector<Tick>, kStreams> stream_end_;  // by position
  std::array<std::vector<Tick>, kStreams> call_begin_;  // by position: of the pending collective
  std::vector<BusyInterval> busy_;  // by position: the last unbroken one of communication
  std::map<CallKey, Call> calls_;
  std::map<PairKey, std::vector<Tick>> sends_;  // when the messages of a pair arrive, in order
  std::map<PairKey, std::size_t> received_;
};

}  // namespace vitsim
