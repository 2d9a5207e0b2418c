#pragma once

#include <atomic>
#include <cstdint>

#include "models/phase.h"

namespace vitsim {

/// Shows what a rank is doing: written by the thread that trains, read by its watchdog.
class PhaseBoard {
 public:
  void enter(std::int64_t step, Phase phase) {
    step_.store(step, std::memory_order_relaxed);
    phase_.store(phase, std::memory_order_relaxed);
    entered_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::int64_t step() const { return step_.load(std::memory_order_relaxed); }

  [[nodiscard]] Phase phase() const { return phase_.load(std::memory_order_relaxed); }

  /// Phases begun so far.
  [[nodiscard]] std::int64_t entered() const { return entered_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> step_ = 0;
  std::atomic<Phase> phase_ = Phase::kOther;
  std::atomic<std::int64_t> entered_ = 0;
};

}  // namespace vitsim
