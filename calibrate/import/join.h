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

/// Adds a measurement's devices, runs, samples, environment and warnings to another's. Of runs with
/// one name the second gets a number. Throws UserError where both hold the very same run, or call
/// two devices by one name.
void append(Measurement& to, Measurement from);

}  // namespace vitsim
