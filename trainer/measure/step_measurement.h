#pragma once

#include <cstdint>
#include <vector>

#include "models/experiment/training.h"
#include "trainer/measure/bench.h"

namespace vitsim {

/// One whole step to be measured: a model in a precision at a micro-batch.
struct StepCase {
  VitSpec model;
  Precision precision = Precision::kFp32;
  std::int64_t micro_batch = 1;
};

/// A rank's own steps, as the trainer makes them but without other ranks, for every case in turn
/// and all of them twice: what differs between the two visits is the spread of a run. Cases that
/// would not fit into the time are left out and named. Every case and visit becomes a RecordedRun
/// of one rank; cases come in order of importance.
///
/// `training` gives what a case does not: data set, optimizer, clipping. Collective: all ranks step
/// together, so that ranks of one machine load it as they do in a training.
void measure_steps(Bench& bench,
                   const TrainingSpec& training,
                   std::vector<StepCase> cases,
                   double until_s);

/// Name for a model that has none of its own: that of the named variant of the same architecture,
/// else its dimensions.
std::string model_name(const VitSpec& model);

}  // namespace vitsim
