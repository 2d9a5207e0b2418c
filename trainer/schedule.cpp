#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace vitsim {

double learning_rate(const OptimizerSpec& optimizer,
                     const std::optional<ScheduleSpec>& schedule,
                     std::int64_t update,
                     std::int64_t run_updates) {
  if (!schedule) {
    return optimizer.lr;
  }
  const ScheduleSpec& s = *schedule;
  const auto at = static_cast<double>(update);
  const auto warmup = static_cast<double>(s.warmup_steps);
  if (update < s.warmup_steps) {
    const double risen =
        s.warmup_log && s.warmup_steps > 1 ? std::log(at + 1) / std::log(warmup) : at / warmup;
    return optimizer.lr * (s.warmup_start + (1 - s.warmup_start) * risen);
  }
  const auto end = static_cast<double>(s.total_steps.value_or(run_updates));
  const double done = end > warmup ? std::clamp((at - warmup) / (end - warmup), 0.0, 1.0) : 1.0;
  double left = 1;
  switch (s.kind) {
    case ScheduleKind::kConstant:
      return optimizer.lr;
    case ScheduleKind::kCosine:
      left = (1 + std::cos(std::numbers::pi * done)) / 2;
      break;
    case ScheduleKind::kLinear:
      left = 1 - done;
      break;
  }
  return optimizer.lr * (s.final_fraction + (1 - s.final_fraction) * left);
}

}  // namespace vitsim
