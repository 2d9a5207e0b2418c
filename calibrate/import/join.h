#pragma once

#include <vector>

#include "calibrate/import/import.h"
#include "calibrate/import/piece.h"

namespace vitsim {

/// Joins what several files say about the same runs, and fills in what none says from the hints.
/// Of the same phase of the same rank the source of highest authority is taken. Runs of one name
/// that are different runs are told apart by their folders. Throws UserError where two files of one
/// folder contradict each other.
Measurement join(std::vector<Piece> pieces, const ImportHints& hints);

/// Adds a measurement's devices, runs, samples, environment and warnings to another's. Throws
/// UserError where both have a run of one name, or call two devices by one.
void append(Measurement& to, Measurement from);

}  // namespace vitsim
