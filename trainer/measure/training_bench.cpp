#include "trainer/measure/training_bench.h"

#include <utility>

#include "models/experiment/epoch.h"
#include "trainer/measure/solo_group.h"

namespace vitsim {

TrainingBench::TrainingBench(TrainingSpec training,
                             const Dataset& dataset,
                             Device& device,
                             PhaseBoard& board)
    : training_(std::move(training)),
      dataset_(dataset),
      device_(device),
      model_(training_.model, training_.seed),
      recorder_(device, board, 0) {
  // One flat copy there and back is what a sum over ranks costs beside the wire, in ddp's buckets
  // as well; measured by itself it can be told from backward.
  training_.gradient_sync = GradientSync::kDeepspeedZero0;
  training_.communication_hook.reset();
  training_.local_updates.reset();
  training_.recompute = Recompute::kNone;
  device.prepare(training_.precision);
  model_.convert(device.torch_device(), model_type(training_.precision));
  reducer_ = make_gradient_reducer({.group = make_solo_group(device.torch_device()),
                                    .device = &device,
                                    .model = &model_,
                                    .training = &training_});
  optimizer_ = make_optimizer(training_.optimizer,
                              reducer_->slices(),
                              model_.parameters().size(),
                              [this](at::Tensor& values) { reducer_->sum_over_shards(values); });
  if (training_.precision == Precision::kFp16 || training_.precision == Precision::kAmpFp16) {
    loss_scale_.emplace(training_.loss_scale);
  }
  step_.emplace(training_,
                model_,
                *reducer_,
                *optimizer_,
                loss_scale_ ? &*loss_scale_ : nullptr,
                device,
                recorder_);
}

void TrainingBench::start_feed(std::int64_t micro_batch) {
  feed_.reset();
  training_.micro_batch = {micro_batch};
  const EpochPlan plan = plan_epoch(dataset_.size() - dataset_.size() % micro_batch,
                                    1,
                                    training_.micro_batch,
                                    /*accumulation=*/1);
  feed_.emplace(
      start_epoch(
          dataset_, training_, plan, 0, 1, epoch_++, 0, loader_options(training_.loader, device_)),
      dataset_.normalisation(),
      training_.precision,
      device_);
  feed_batch_ = micro_batch;
}

TrainingBench::Step TrainingBench::step(std::int64_t micro_batch) {
  if (!feed_ || feed_batch_ != micro_batch || feed_->left() == 0) {
    start_feed(micro_batch);
  }
  feed_->wait_and_copy_ahead();
  device_.join_copies({});
  device_.synchronize();
  recorder_.begin_step(steps_, false, true);
  step_->run(*feed_,
             {.mine = {.count = 1, .size = micro_batch, .last = micro_batch},
              .joined = micro_batch,
              .most = 1,
              .step = steps_},
             training_.optimizer.lr);
  ++steps_;
  Step result;
  for (const Span& span : recorder_.take_spans()) {
    result.phase_s[span.phase] += static_cast<double>(span.end_ns - span.begin_ns) * 1e-9;
  }
  for (const StepTime& time : recorder_.take_steps()) {
    result.step_s = static_cast<double>(time.end_ns - time.begin_ns) * 1e-9;
  }
  return result;
}

}  // namespace vitsim
