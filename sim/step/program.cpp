#include "sim/step/program.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

void check_operations(const ClassProgram& program, std::size_t index, std::size_t axes) {
  const std::vector<Operation>& operations = program.operations;
  const auto fail = [&](std::size_t operation, const std::string& what) {
    throw InternalError(fmt::format(
        "step program, class {}: {} {}", index, describe(operations[operation], operation), what));
  };
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Operation& operation = operations[i];
    if (static_cast<std::size_t>(operation.stream) >= kStreamNames.size()) {
      fail(i, "has no stream");
    }
    for (const std::uint32_t before : operation.after) {
      if (before >= operations.size()) {
        fail(i, fmt::format("waits for operation {}, which does not exist", before));
      }
      if (before >= i) {
        fail(i,
             fmt::format("waits for {}, which does not stand before it: a cycle, or a wrong order",
                         describe(operations[before], before)));
      }
    }
    const Collective* collective = operation.collective();
    const Transfer* transfer = operation.transfer();
    const std::size_t axis = collective != nullptr ? collective->axis
                             : transfer != nullptr ? transfer->axis
                                                   : 0;
    if ((collective != nullptr || transfer != nullptr) && axis >= axes) {
      fail(i, fmt::format("communicates on axis {}, of which there are {}", axis, axes));
    }
    if ((collective != nullptr && collective->bytes < 0) ||
        (transfer != nullptr && transfer->bytes < 0)) {
      fail(i, "moves a negative number of bytes");
    }
    if (const Compute* compute = operation.compute()) {
      if (!(compute->from >= 0 && compute->from <= compute->to && compute->to <= 1) ||
          !(compute->parts >= 1) || !(compute->overlap_slowdown > 0)) {
        fail(i, "is cut at shares that do not rise from 0 to 1");
      }
      if (compute->overlap_slowdown != 1 && operation.stream != Stream::kCompute) {
        fail(i, "is slowed by communication although it does not run on the compute stream");
      }
    }
  }
  if (!operations.empty() &&
      (program.update >= operations.size() || operations[program.update].compute() == nullptr)) {
    throw InternalError(
        fmt::format("step program, class {}: operation {}, which should update the weights, is no "
                    "compute operation",
                    index,
                    program.update));
  }
}

// The collectives of a class on one axis, as their group must agree on them.
using Call = std::tuple<CollectiveKind, Algorithm, std::int64_t>;

std::vector<Call> calls_of(const ClassProgram& program, std::uint32_t axis) {
  std::vector<Call> calls;
  for (const Operation& operation : program.operations) {
    const Collective* collective = operation.collective();
    if (collective != nullptr && collective->axis == axis) {
      calls.emplace_back(collective->kind, collective->algorithm, collective->bytes);
    }
  }
  return calls;
}

void check_axis(const StepProgram& program, std::uint32_t axis) {
  const GroupAxis& groups = program.axes[axis];
  std::vector<std::vector<Call>> calls;
  for (const ClassProgram& each : program.classes) {
    calls.push_back(calls_of(each, axis));
  }
  const auto check_pair = [&](std::size_t a, std::size_t b) {
    const auto& mine = calls[program.class_of[a]];
    const auto& theirs = calls[program.class_of[b]];
    if (mine != theirs) {
      throw InternalError(
          fmt::format("step program, axis {}: positions {} and {} of one group make {} and {} "
                      "collectives, or not the same ones",
                      groups.name,
                      a,
                      b,
                      mine.size(),
                      theirs.size()));
    }
  };
  if (groups.groups.empty()) {
    std::vector<std::size_t> first(program.classes.size(), SIZE_MAX);
    for (std::size_t i = 0; i < program.positions(); ++i) {
      if (first[program.class_of[i]] == SIZE_MAX) {
        first[program.class_of[i]] = i;
        check_pair(0, i);
      }
    }
    return;
  }
  std::vector<std::uint32_t> seen(program.positions(), kNone);
  for (std::uint32_t group = 0; group < groups.groups.size(); ++group) {
    for (const std::uint32_t position : groups.groups[group]) {
      if (position >= program.positions()) {
        throw InternalError(fmt::format(
            "step program, axis {}: position {} does not exist", groups.name, position));
      }
      if (seen[position] != kNone) {
        throw InternalError(fmt::format("step program, axis {}: position {} joins groups {} and {}",
                                        groups.name,
                                        position,
                                        seen[position],
                                        group));
      }
      seen[position] = group;
      check_pair(groups.groups[group].front(), position);
    }
  }
  const auto outside = std::ranges::find(seen, kNone);
  if (outside != seen.end()) {
    throw InternalError(fmt::format(
        "step program, axis {}: position {} is in no group", groups.name, outside - seen.begin()));
  }
}

}  // namespace

std::size_t StepProgram::most_operations() const {
  std::size_t most = 0;
  for (const ClassProgram& each : classes) {
    most = std::max(most, each.operations.size());
  }
  return most;
}

std::vector<std::int64_t> StepProgram::class_counts() const {
  std::vector<std::int64_t> counts(classes.size(), 0);
  for (const std::uint32_t index : class_of) {
    ++counts[index];
  }
  return counts;
}

std::string describe(const Operation& operation, std::size_t index) {
  const auto stream = static_cast<std::size_t>(operation.stream);
  const std::string_view on = stream < kStreamNames.size() ? kStreamNames[stream] : "no stream";
  if (const Collective* collective = operation.collective()) {
    return fmt::format("operation {} ({}: {} of {} bytes on {})",
                       index,
                       name(operation.phase),
                       name(collective->kind),
                       collective->bytes,
                       on);
  }
  if (const Transfer* transfer = operation.transfer()) {
    return fmt::format("operation {} ({}: {} {} bytes {} {} on {})",
                       index,
                       name(operation.phase),
                       transfer->direction == Transfer::Direction::kSend ? "sends" : "receives",
                       transfer->bytes,
                       transfer->direction == Transfer::Direction::kSend ? "to" : "from",
                       transfer->distance,
                       on);
  }
  return fmt::format("operation {} ({} on {})", index, name(operation.phase), on);
}

void check_program(const StepProgram& program) {
  for (std::size_t i = 0; i < program.classes.size(); ++i) {
    check_operations(program.classes[i], i, program.axes.size());
  }
  for (std::size_t i = 0; i < program.positions(); ++i) {
    if (program.class_of[i] >= program.classes.size()) {
      throw InternalError(fmt::format("step program: position {} has no class", i));
    }
  }
  for (std::uint32_t axis = 0; axis < program.axes.size(); ++axis) {
    check_axis(program, axis);
  }
}

std::vector<GroupPlace> group_places(const GroupAxis& axis, std::size_t positions) {
  std::vector<GroupPlace> places(positions);
  if (axis.groups.empty()) {
    for (std::uint32_t i = 0; i < positions; ++i) {
      places[i].index = i;
    }
    return places;
  }
  for (std::uint32_t group = 0; group < axis.groups.size(); ++group) {
    for (std::uint32_t index = 0; index < axis.groups[group].size(); ++index) {
      places[axis.groups[group][index]] = {.group = group, .index = index};
    }
  }
  return places;
}

Tick operation_ticks(const Compute& compute, double slowdown, double factor) {
  const double whole = compute.on_gpu ? slowdown * factor : factor;
  const Tick ticks = to_ticks(compute.seconds * (whole / compute.parts));
  if (compute.from == 0 && compute.to == 1) {
    return ticks;
  }
  // Both ends are rounded, so that the parts add up to the whole.
  const auto until = [&](double share) {
    return static_cast<Tick>(std::floor(static_cast<double>(ticks) * share + 0.5));
  };
  return until(compute.to) - until(compute.from);
}

void OperationTicks::fill(const ClassProgram& program, std::size_t row, double factor) {
  for (std::size_t i = 0; i < program.operations.size(); ++i) {
    if (const Compute* compute = program.operations[i].compute()) {
      ticks_[row * operations_ + i] = operation_ticks(*compute, program.slowdown, factor);
    }
  }
}

OperationTicks::OperationTicks(const StepProgram& program, std::span<const double> class_factors)
    : operations_(program.most_operations()),
      class_of_(program.class_of),
      ticks_(program.classes.size() * operations_) {
  for (std::size_t i = 0; i < program.classes.size(); ++i) {
    fill(program.classes[i], i, class_factors.empty() ? 1 : class_factors[i]);
  }
}

OperationTicks OperationTicks::by_position(const StepProgram& program,
                                           std::span<const double> position_factors) {
  OperationTicks result;
  result.operations_ = program.most_operations();
  result.by_position_ = true;
  result.ticks_.resize(program.positions() * result.operations_);
  for (std::size_t i = 0; i < program.positions(); ++i) {
    result.fill(program.of(i), i, position_factors[i]);
  }
  return result;
}

}  // namespace vitsim
