#pragma once

#include <cstdint>
#include <optional>

#include "models/experiment/epoch.h"
#include "models/experiment/training.h"
#include "trainer/batch_feed.h"
#include "trainer/loss_scale.h"
#include "trainer/model.h"
#include "trainer/optimizer.h"
#include "trainer/recorder.h"
#include "trainer/step/gradient_reducer.h"

namespace vitsim {

/// What came out of one step on one rank.
struct StepResult {
  double loss = 0;       // this rank's share: sum over its samples / samples of the joined batch
  bool skipped = false;  // gradients overflowed; weights are as before
};

/// The part of one rank in a step of all.
struct StepWork {
  StepShape mine;           // this rank's micro-batches
  std::int64_t joined = 0;  // samples of all ranks
  std::int64_t most = 0;    // micro-batches of the rank that makes most
  std::int64_t step = 0;    // steps of the run before this one
};

/// One optimizer update, in the phases of models/phase.h; sim/step/ schedules the same.
class TrainStep {
 public:
  TrainStep(const TrainingSpec& training,
            const VisionTransformer& model,
            GradientReducer& reducer,
            Optimizer& optimizer,
            LossScale* loss_scale,
            Device& device,
            Recorder& recorder);

  /// Throws DeviceError where the loss is not finite.
  StepResult run(BatchFeed& feed, const StepWork& work, double lr);

 private:
  at::Tensor load_and_forward(BatchFeed& feed, bool last);
  at::Tensor forward_without_samples(bool last);
  at::Tensor mean_loss(const Batch& batch, bool last);
  void backward(const at::Tensor& loss, bool last);
  void reduce();
  [[nodiscard]] bool gradients_usable(const std::vector<Slice>& slices);
  void clip(const std::vector<Slice>& slices);

  const TrainingSpec& training_;
  const VisionTransformer& model_;
  GradientReducer& reducer_;
  Optimizer& optimizer_;
  LossScale* loss_scale_;  // none where gradients need no scaling
  Device& device_;
  Recorder& recorder_;
};

/// Logits of a batch in the arithmetic of `precision`: the whole model's type, or autocast.
at::Tensor logits(const VisionTransformer& model, const at::Tensor& images, Precision precision);

}  // namespace vitsim
