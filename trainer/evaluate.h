#pragma once

#include "trainer/communication.h"
#include "trainer/data/loader.h"
#include "trainer/model.h"
#include "trainer/phase_board.h"

namespace vitsim {

struct Evaluation {
  double loss = 0;  // mean cross-entropy, labels not smoothed
  double top1 = 0;  // shares of samples whose label is the first, or among the first five, choices
  double top5 = 0;
};

/// Runs every sample of `dataset` through the model once, dealt over all ranks. Collective.
Evaluation evaluate(const TrainingSpec& training,
                    const VisionTransformer& model,
                    const Dataset& dataset,
                    const LoaderOptions& options,
                    Communication& communication,
                    Device& device,
                    PhaseBoard& board,
                    std::int64_t step);

}  // namespace vitsim
