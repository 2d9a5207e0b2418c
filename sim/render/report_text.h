#pragma once

#include <string>

#include "models/report/report.h"
#include "sim/job/resolved_job.h"
#include "sim/render/text_table.h"

namespace vitsim {

/// A prediction for people: what was assumed, epoch, step, run, what limits it, where a step goes,
/// classes of ranks, where the figures come from. No line is wider than 100 characters but for
/// sentences.
std::string report_text(const Report& report, const ResolvedJob& job, const TextStyle& style = {});

/// A duration with enough digits to compare, in the unit that suits it: "5.603 s", "145.2 ms".
std::string precise(double seconds);

/// What a run uses and costs: "24.3 GPU hours, 12.40 EUR, 3.1 kWh +-30 %, 1.5 kg CO2e".
std::string cost_text(const RunCost& cost);

/// "27 min to 30 min", or why there is no interval.
std::string interval_text(const Quantiles& seconds);

/// The same relative to the median: "-5 % to +6 %".
std::string relative_interval_text(const Quantiles& seconds);

}  // namespace vitsim
