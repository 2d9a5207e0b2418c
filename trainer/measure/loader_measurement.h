#pragma once

#include "models/experiment/training.h"
#include "trainer/measure/bench.h"

namespace vitsim {

/// How fast this rank's loader alone reads, decodes and transforms the training's data set: images
/// per worker, for 1, 2 and 4 workers, at the model's image size and at half of it, which tells
/// decoding from transforms. Nothing else runs beside it. A data set that cannot be read is named
/// and left out. Collective: ranks of one machine load together, as in a training.
void measure_loader(Bench& bench, const TrainingSpec& training, double until_s);

}  // namespace vitsim
