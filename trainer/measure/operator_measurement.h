#pragma once

#include <vector>

#include "models/precision.h"
#include "trainer/measure/bench.h"

namespace vitsim {

/// The kernels that a ViT's pass is made of, by themselves, at the widths of the named
/// variants: "operator" samples with `kind` (gemm, attention, layer_norm, gelu,
/// elementwise, optimizer, copy), the dimensions, flops and bytes of one call. Collective.
void measure_operators(Bench& bench, const std::vector<Precision>& precisions, double until_s);

}  // namespace vitsim
