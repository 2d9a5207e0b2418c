#pragma once

#include <cstdint>

#include "sim/collective/algorithm.h"

namespace vitsim {

/// What Open MPI 4.1's `tuned` component does for a commutative operation by world size and total
/// bytes (coll_tuned_decision_fixed.c; the table is the same in 5.0).
Algorithm open_mpi_algorithm(std::int64_t ranks, std::int64_t bytes);

}  // namespace vitsim
