#include "trainer/loss_scale.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "models/error.h"

namespace vitsim {

LossScale::LossScale(const LossScaleSpec& spec)
    : spec_(spec),
      scale_(spec.fixed > 0 ? spec.fixed : std::ldexp(1.0, spec.initial_power)),
      hysteresis_(spec.hysteresis) {}

void LossScale::update(bool overflow) {
  if (spec_.fixed > 0) {
    return;
  }
  if (overflow) {
    if (spec_.hysteresis == 1 || hysteresis_ == 1) {
      if (scale_ <= spec_.minimum) {
        throw DeviceError(fmt::format(
            "the loss scale is at its minimum ({}) and gradients still overflow", spec_.minimum));
      }
      scale_ = std::max(scale_ / 2, spec_.minimum);
    } else {
      --hysteresis_;
    }
    last_overflow_ = iteration_;
  } else {
    if (spec_.consecutive_hysteresis) {
      hysteresis_ = spec_.hysteresis;
    }
    const std::int64_t stable = iteration_ - last_overflow_ - 1;
    if (stable > 0 && stable % spec_.window == 0) {
      if (!spec_.consecutive_hysteresis) {
        hysteresis_ = spec_.hysteresis;
      }
      scale_ *= 2;
    }
  }
  ++iteration_;
}

void LossScale::restore(const State& state) {
  scale_ = state.scale;
  hysteresis_ = state.hysteresis;
  iteration_ = state.iteration;
  last_overflow_ = state.last_overflow;
}

}  // namespace vitsim
