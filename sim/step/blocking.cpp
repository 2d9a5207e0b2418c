#include "sim/step/blocking.h"

#include <algorithm>

namespace vitsim {

namespace {

/// Walks through one class's operations. Rounds without collectives at the end are the first
/// round's of the next step.
std::optional<std::vector<BlockingRound>> rounds_of(const ClassProgram& program,
                                                    const OperationTicks& ticks,
                                                    std::size_t row,
                                                    Tick overhead,
                                                    const TogetherTime& together) {
  struct Round {
    Tick compute = 0;
    double communication_s = 0;
    std::array<double, kPhaseNames.size()> phase_s{};
    bool has_calls = false;
  };

  std::vector<Round> rounds(1);
  std::optional<std::uint32_t> last_compute;
  std::optional<std::uint32_t> last_call;
  const auto waits_for = [&](const Operation& operation, std::uint32_t other) {
    return std::ranges::find(operation.after, other) != operation.after.end();
  };
  for (std::uint32_t i = 0; i < program.operations.size(); ++i) {
    const Operation& operation = program.operations[i];
    if (operation.transfer() != nullptr || operation.stream == Stream::kCopy ||
        operation.stream == Stream::kReplicas) {
      return std::nullopt;
    }
    if (const Collective* collective = operation.collective()) {
      const std::optional<Tick> time = together(*collective);
      // It must not begin before all compute listed so far is over; calls follow each other.
      const bool follows =
          rounds.back().has_calls ? true : !last_compute || waits_for(operation, *last_compute);
      if (!time || !follows) {
        return std::nullopt;
      }
      const double seconds = to_seconds(*time + overhead).value();
      rounds.back().communication_s += seconds;
      rounds.back().phase_s[static_cast<std::size_t>(operation.phase)] += seconds;
      rounds.back().has_calls = true;
      last_call = i;
      continue;
    }
    if (rounds.back().has_calls) {
      if (!waits_for(operation, *last_call)) {
        return std::nullopt;
      }
      rounds.emplace_back();
    } else if (last_compute && operation.stream != program.operations[*last_compute].stream &&
               !waits_for(operation, *last_compute)) {
      return std::nullopt;  // two streams at once
    }
    rounds.back().compute += ticks.in_row(i, row);
    last_compute = i;
  }
  if (rounds.size() > 1 && !rounds.back().has_calls) {
    rounds.front().compute += rounds.back().compute;
    rounds.pop_back();
  }
  std::vector<BlockingRound> result;
  result.reserve(rounds.size());
  for (const Round& round : rounds) {
    result.push_back({.compute_s = {to_seconds(round.compute).value()},
                      .communication_s = round.communication_s,
                      .phase_s = round.phase_s});
  }
  return result;
}

}  // namespace

std::optional<std::vector<BlockingRound>> blocking_rounds(const StepProgram& program,
                                                          const TogetherTime& together) {
  if (program.axes.size() > 1 || (!program.axes.empty() && !program.axes[0].groups.empty())) {
    return std::nullopt;
  }
  const bool calls = std::ranges::any_of(
      program.classes.front().operations,
      [](const Operation& operation) { return operation.collective() != nullptr; });
  if (!calls && program.positions() > 1) {
    return std::nullopt;  // nobody waits for anybody
  }
  const OperationTicks ticks(program);
  std::vector<BlockingRound> all;
  for (std::size_t each = 0; each < program.classes.size(); ++each) {
    auto mine =
        rounds_of(program.classes[each], ticks, each, program.collective_overhead, together);
    if (!mine || (each > 0 && mine->size() != all.size())) {
      return std::nullopt;
    }
    if (each == 0) {
      all = std::move(*mine);
      continue;
    }
    for (std::size_t round = 0; round < all.size(); ++round) {
      all[round].compute_s.push_back((*mine)[round].compute_s.front());
    }
  }
  return all;
}

}  // namespace vitsim
