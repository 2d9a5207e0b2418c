#pragma once

#include <atomic>
#include <cstdint>

#include "models/phase.h"

namespace vitsim {

/// Knows what this rank is doing.
class Watchdog {
 public:
  /// Called by the recorder at the begin of every phase.
  void enter(std::int64_t step, Phase phase) {
    step_.store(step, std::memory_order_relaxed);
    phase_.store(static_cast<int>(phase), std::memory_order_relaxed);
    entered_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::int64_t step() const { return step_.load(std::memory_order_relaxed); }

  [[nodiscard]] Phase phase() const {
    return static_cast<Phase>(phase_.load(std::memory_order_relaxed));
  }

 private:
  std::atomic<std::int64_t> step_ = 0;
  std::atomic<int> phase_ = static_cast<int>(Phase::kOther);
  std::atomic<std::int64_t> entered_ = 0;
};

}  // namespace vitsim
