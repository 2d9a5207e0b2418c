#pragma once

#include <string>

#include "models/report/report.h"
#include "sim/job/scenario.h"

namespace vitsim {

/// A prediction for people: what was assumed, epoch, step, run, phases, ranks, who is to blame.
std::string report_text(const Report& report, const Scenario& scenario);

/// A duration with enough digits to compare, in the unit that suits it: "5.603 s", "145.2 ms".
std::string precise(double seconds);

}  // namespace vitsim
