#pragma once

#include <cstdint>

#include "models/experiment/training.h"

namespace vitsim {

/// Dynamic loss scaling by DeepSpeed's rules (runtime/fp16/loss_scaler.py, update_scale): an
/// overflow first uses up the hysteresis, then halves the scale; a window of steps without overflow
/// doubles it.
class LossScale {
 public:
  explicit LossScale(const LossScaleSpec& spec);

  [[nodiscard]] double scale() const { return scale_; }

  /// Tells how the step's gradients came out; one with an overflow is skipped by the caller. Throws
  /// DeviceError on an overflow with the scale already at its minimum.
  void update(bool overflow);

  /// What a checkpoint keeps.
  struct State {
    double scale = 1;
    int hysteresis = 1;
    std::int64_t iteration = 0;
    std::int64_t last_overflow = -1;
  };

  [[nodiscard]] State state() const { return {scale_, hysteresis_, iteration_, last_overflow_}; }

  void restore(const State& state);

 private:
  LossScaleSpec spec_;
  double scale_;
  int hysteresis_;
  std::int64_t iteration_ = 0;
  std::int64_t last_overflow_ = -1;
};

}  // namespace vitsim
