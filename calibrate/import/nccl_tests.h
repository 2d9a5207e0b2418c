#pragma once

#include <istream>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// The text that nccl-tests' `all_reduce_perf` prints, with or without a launcher's marks in front
/// of its lines. Gives "all_reduce" samples of no run by size and place (out-of-place, in-place),
/// each time being nccl-tests' own mean over its iterations, with `bytes`, `ranks` and `nodes`.
/// Throws UserError if no row is in it or if it is of another collective, which the ratio of bus to
/// algorithm bandwidth shows: 2(n-1)/n for AllReduce.
Piece read_nccl_tests(std::istream& stream, const std::string& origin, const std::string& name);

}  // namespace vitsim
