#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "models/experiment/training.h"
#include "trainer/batch_feed.h"
#include "trainer/data/dataset.h"
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

  /// On a GPU the loader's part is over before the step begins: how fast it is, the loader's own
  /// measurement tells.
  Step step(std::int64_t micro_batch);

  /// Lets go of micro-batches on their way, whose memory would count as the next case's.
  void drop_batches() { feed_.reset(); }

 private:
  void start_feed(std::int64_t micro_batch);

  TrainingSpec training_;
  const Dataset& dataset_;
  Device& device_;
  VisionTransformer model_;
  Recorder recorder_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LossScale> loss_scale_;
  std::optional<TrainStep> step_;
  std::optional<BatchFeed> feed_;
  std::int64_t feed_batch_ = 0;
  std::int64_t epoch_ = 0;
  std::int64_t steps_ = 0;
};

}  // namespace vitsim
