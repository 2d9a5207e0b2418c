#pragma once

#include <cstdint>
#include <vector>

#include "models/report/timeline.h"
#include "models/wide_integer.h"
#include "sim/step/accounting.h"
#include "sim/step/program.h"
#include "sim/step/step_times.h"

namespace vitsim {

/// Where and when the step of a timeline took place.
struct StepPlace {
  Int128 origin = 0;  // of the step's clock, in ticks of the run's
  std::int64_t rank = 0;
  std::int64_t step = 0;
  std::int64_t job = 0;
};

/// Appends what one position did in its step: an entry for each operation that took time, parts of
/// one pass joined, and for every stretch in which it waited for stragglers. Times are rounded to
/// the nearest nanosecond.
void append_spans(const StepProgram& program,
                  const StepTimes& times,
                  const AloneTimes& alone,
                  std::uint32_t position,
                  Tick begin,
                  const StepPlace& place,
                  std::vector<Span>& spans);

}  // namespace vitsim
