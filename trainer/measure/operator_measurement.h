#pragma once

#include <vector>

#include "models/precision.h"
#include "trainer/measure/bench.h"

namespace vitsim {

/// The kernels that a ViT's passes are made of, by themselves, at the widths of the named variants:
/// "operator" samples with `kind`, `pass`, the dimensions, flops and bytes of one call. Forward and
/// backward: gemm, convolution, attention, layer_norm, gelu. Besides: elementwise (a residual add),
/// copy, fill, cast, reduce (of a bias' gradient), optimizer, and, where there is a GPU,
/// host_to_device and `launch`, what the host takes for one call. Collective.
void measure_operators(Bench& bench, const std::vector<Precision>& precisions, double until_s);

}  // namespace vitsim
