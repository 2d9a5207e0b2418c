#pragma once

#include <span>
#include <vector>

#include "sim/engine/clock.h"

namespace vitsim {

/// When the operations of one step ran, by operation and position; `step_end` is when a position
/// begins its next step.
class StepTimes {
 public:
  StepTimes() = default;

  StepTimes(std::size_t positions, std::size_t operations)
      : positions_(positions),
        begins_(positions * operations),
        ends_(positions * operations),
        step_end(positions) {}

  [[nodiscard]] std::size_t positions() const { return step_end.size(); }

  [[nodiscard]] std::span<Tick> begins(std::size_t operation) {
    return std::span(begins_).subspan(operation * positions_, positions_);
  }

  [[nodiscard]] std::span<const Tick> begins(std::size_t operation) const {
    return std::span(begins_).subspan(operation * positions_, positions_);
  }

  [[nodiscard]] std::span<Tick> ends(std::size_t operation) {
    return std::span(ends_).subspan(operation * positions_, positions_);
  }

  [[nodiscard]] std::span<const Tick> ends(std::size_t operation) const {
    return std::span(ends_).subspan(operation * positions_, positions_);
  }

 private:
  std::size_t positions_ = 0;
  std::vector<Tick> begins_;  // [operation * positions + position]
  std::vector<Tick> ends_;

 public:
  std::vector<Tick> step_end;  // by position
};

}  // namespace vitsim
