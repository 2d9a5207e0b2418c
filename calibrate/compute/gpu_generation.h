#pragma once

#include "calibrate/profile/profile.h"

namespace vitsim {

/// Where a GPU's architecture stands in NVIDIA's row of them: Pascal 0, Volta 1, Turing 2, Ampere
/// 3, Ada 4, Hopper 5, Blackwell 6. What is not in that row counts as of today: 6.
int gpu_generation(const GpuSheet& sheet);

}  // namespace vitsim
