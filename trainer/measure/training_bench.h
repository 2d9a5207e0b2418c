#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "models/experiment/training.h"
#include "trainer/data/loader.h"
#include "trainer/device.h"
#include "trainer/loss_scale.h"
#include "trainer/model.h"
#include "trainer/phase_board.h"
#include "trainer/recorder.h"
#include "trainer/step/train_step.h"

namespace vitsim {

/// A training of one rank that makes single steps on demand, of any micro-batch.
class TrainingBench {
 public:
  /// `training` gives model and precision. Its data set must be open-able.
  TrainingBench(TrainingSpec training, const Dataset& dataset, Device& device, PhaseBoard& board);

  /// Seconds of each phase, and of the whole step.
  struct Step {
    std::map<Phase, double> phase_s;
    double step_s = 0;
  };

  Step step(std::int64_t micro_batch);

 private:
  void start_loader(std::int64_t micro_batch);

  TrainingSpec training_;
  const Dataset& dataset_;
  Device& device_;
  VisionTransformer model_;
  Recorder recorder_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LossScale> loss_scale_;
  std::optional<TrainStep> step_;
  std::unique_ptr<EpochLoader> loader_;
  std::int64_t loader_batch_ = 0;
  std::int64_t epoch_ = 0;
  std::int64_t steps_ = 0;
};

}  // namespace vitsim
