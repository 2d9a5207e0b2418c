#pragma once

#include <string>

#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What a measurement holds, for people: a table of its runs, the samples of no run by kind, and
/// the warnings. Ends in a newline.
std::string describe(const Measurement& measurement);

}  // namespace vitsim
