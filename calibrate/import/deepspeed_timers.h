#pragma once

#include <string_view>

namespace vitsim {

/// The five timers of DeepSpeed's engine, in milliseconds.
struct DeepspeedTimers {
  double forward = 0;
  double backward = 0;
  double backward_inner = 0;
  double all_reduce = 0;
  double step = 0;
};

struct DeepspeedTimerLine {
  bool micro_step = false;
  DeepspeedTimers timers;
};

enum class TimersFound {
  kTimers,
  kForeign,  // of others: ZeRO's optimizer, the pipeline engine, GPT-NeoX
  kMangled,  // cut, or mixed with other text
};

/// What DeepSpeed prints in front of its timers.
inline constexpr std::string_view kTimersMark = "time (ms) |";

/// Reads the timers that follow the mark. A line that has timers of other names, and not all of the
/// five in one kind, is foreign; a line that has some but not all of the five, or a cut figure, is
/// mangled.
TimersFound read_deepspeed_timers(std::string_view text, DeepspeedTimerLine& line);

}  // namespace vitsim
