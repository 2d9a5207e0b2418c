#pragma once

#include <istream>
#include <string>
#include <vector>

#include "calibrate/import/piece.h"

namespace vitsim {

/// Reads what a training under DeepSpeed with `wall_clock_breakdown` printed, of 2023 (0.9) to 2026
/// (0.19), through any launcher. Gives per rank that printed times (usually rank 0 alone):
/// "forward", "backward", "backward_compute", "gradient_all_reduce" and "optimizer" of every
/// micro-step; and the configuration, as far as it was printed. Memory is bounded by the steps
/// found. Every start of the training that printed steps is a run with the facts it printed itself:
/// `run`, `run (2)` ... Starts of a ZeRO stage that is not simulated are left out with a warning.
///
/// What was cut or mangled is left out with a warning that names the line. A log of a rank that
/// prints no times gives facts only. Throws UserError if nothing of DeepSpeed is in it.
std::vector<Piece> read_deepspeed_log(std::istream& stream,
                                      const std::string& origin,
                                      const std::string& run);

}  // namespace vitsim
