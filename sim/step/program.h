#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "models/phase.h"
#include "models/report/timeline.h"
#include "models/units.h"
#include "sim/collective/algorithm.h"
#include "sim/engine/clock.h"

namespace vitsim {

/// One step of a training as data: what every rank does, on which of its streams, and after what.
///
/// Executors run programs without knowing which way to train they come from. The operations of one
/// stream run in the order of the list, one after the other; an operation begins when its stream is
/// free and everything in its `after` has ended. Everything that an operation waits for stands
/// before it in the list.

/// Arithmetic of one rank, its wait for the loader, or a copy between host and device. The duration
/// at full speed is `seconds / parts`, and of it the share from `from` to `to`: backward is cut
/// where buckets of gradients become ready, and an optimizer may update one of several parts.
struct Compute {
  Seconds seconds;
  double parts = 1;
  double from = 0;
  double to = 1;
  bool on_gpu = true;           // a GPU's slowdown stretches it; the loader's work is the CPU's
  std::int64_t bytes = 0;       // that a copy moves
  double overlap_slowdown = 1;  // factor while the rank's communication stream is busy
};

/// A collective among the ranks of the rank's group on an axis.
struct Collective {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  Algorithm algorithm = Algorithm::kRing;
  std::int64_t bytes = 0;  // of the whole buffer, as nccl-tests counts
  std::uint32_t axis = 0;
};

/// A message to, or from, the rank that stands `distance` further in the group of the axis; behind
/// its end only where it goes `around`. Sending does not wait for the receiver. The n-th send to a
/// rank meets its n-th receive.
struct Transfer {
  enum class Direction : std::uint8_t { kSend, kReceive };
  Direction direction = Direction::kSend;
  std::int64_t bytes = 0;
  std::uint32_t axis = 0;
  std::int32_t distance = 1;
  bool around = false;
};

struct Operation {
  Stream stream = Stream::kCompute;
  Phase phase = Phase::kForward;
  std::variant<Compute, Collective, Transfer> what;
  std::vector<std::uint32_t> after;  // indices in the list of the same rank

  [[nodiscard]] const Compute* compute() const { return std::get_if<Compute>(&what); }

  [[nodiscard]] const Collective* collective() const { return std::get_if<Collective>(&what); }

  [[nodiscard]] const Transfer* transfer() const { return std::get_if<Transfer>(&what); }
};

/// What every rank of one class does in the step.
struct ClassProgram {
  std::vector<Operation> operations;
  /// The compute operation that needs everybody's gradients. What the rank computes before it makes
  /// it ready; the latest rank to be ready is the straggler.
  std::uint32_t update = 0;
  double slowdown = 1;  // of the ranks' GPUs, as the cluster file says
};

/// The groups of ranks that communicate with each other along one axis, e.g. "data". Positions are
/// indices of the job's ranks.
struct GroupAxis {
  std::string name = "data";
  std::vector<std::vector<std::uint32_t>> groups;  // empty: one group of all positions
};

struct StepProgram {
  std::vector<ClassProgram> classes;
  std::vector<std::uint32_t> class_of;  // by position
  std::vector<GroupAxis> axes;
  Tick collective_overhead = 0;  // on the communication stream, before each collective

  [[nodiscard]] std::size_t positions() const { return class_of.size(); }

  [[nodiscard]] const ClassProgram& of(std::size_t position) const {
    return classes[class_of[position]];
  }

  /// The longest list of operations.
  [[nodiscard]] std::size_t most_operations() const;

  /// Number of ranks of each class.
  [[nodiscard]] std::vector<std::int64_t> class_counts() const;
};

/// "collective 12 (gradient_all_reduce, all-reduce of 28351488 bytes on communication)".
std::string describe(const Operation& operation, std::size_t index);

/// Throws InternalError, which names the operations, where an operation has no stream, waits for
/// one that does not stand before it (a cycle), communicates on an axis that does not exist, where
/// a position joins two groups of one axis or none, or where the members of a group do not make
/// the same collectives in the same order.
void check_program(const StepProgram& program);

/// A member's place in its group of an axis, for every position.
struct GroupPlace {
  std::uint32_t group = 0;
  std::uint32_t index = 0;
};

/// By position. An axis without groups is one group of everybody.
std::vector<GroupPlace> group_places(const GroupAxis& axis, std::size_t positions);

/// Ticks of every compute operation, by class, or by position where each rank has a factor of its
/// own. Other operations have 0.
class OperationTicks {
 public:
  /// A factor by class on all compute, loading included; empty: 1.
  explicit OperationTicks(const StepProgram& program, std::span<const double> class_factors = {});

  /// A factor by position.
  static OperationTicks by_position(const StepProgram& program,
                                    std::span<const double> position_factors);

  [[nodiscard]] Tick at(std::size_t operation, std::size_t position) const {
    return ticks_[row(position) * operations_ + operation];
  }

  /// Index of a position's row; rows of equal positions are the same.
  [[nodiscard]] std::size_t row(std::size_t position) const {
    return by_position_ ? position : class_of_[position];
  }

  [[nodiscard]] std::size_t rows() const {
    return operations_ == 0 ? 0 : ticks_.size() / operations_;
  }

  [[nodiscard]] Tick in_row(std::size_t operation, std::size_t row) const {
    return ticks_[row * operations_ + operation];
  }

  [[nodiscard]] bool is_by_position() const { return by_position_; }

 private:
  OperationTicks() = default;
  void fill(const ClassProgram& program, std::size_t row, double factor);

  std::size_t operations_ = 0;  // per row
  bool by_position_ = false;
  std::span<const std::uint32_t> class_of_;
  std::vector<Tick> ticks_;  // [row * operations + operation]
};

/// Ticks of one compute operation with a factor on it.
Tick operation_ticks(const Compute& compute, double slowdown, double factor);

}  // namespace vitsim
