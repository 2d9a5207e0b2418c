#pragma once

#include <string>

#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What a measurement holds, for people: a line for each run with what was understood of it, a line
/// for each table of collectives, and the other samples of no run by kind. Empty where it holds
/// nothing; else it ends in a newline.
std::string describe(const Measurement& measurement);

}  // namespace vitsim
