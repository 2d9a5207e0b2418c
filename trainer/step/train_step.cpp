#include "trainer/step/train_step.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "models/error.h"
#include "trainer/autocast.h"

namespace vitsim {

TrainStep::TrainStep(const TrainingSpec& training,
                     const VisionTransformer& model,
                     GradientReducer& reducer,
                     Optimizer& optimizer,
                     LossScale* loss_scale,
                     Device& device,
                     Recorder& recorder)
    : training_(training),
      model_(model),
      reducer_(reducer),
      optimizer_(optimizer),
      loss_scale_(loss_scale),
      device_(device),
      recorder_(recorder) {}

// The whole step. A rank that has no samples left in an epoch's last step still takes part in the
// sums, with gradients of zero.
StepResult TrainStep::run(BatchFeed& feed, const StepWork& work, double lr) {
  const StepShape& mine = work.mine;
  reducer_.begin_step({.step = work.step, .samples = mine.samples(), .joined = work.joined});
  const std::int64_t least = reducer_.reduces_every_micro_batch() ? work.most : 1;
  const std::int64_t rounds = std::max(mine.count, least);
  const std::int64_t gradient_of = reducer_.trains_alone() ? mine.samples() : work.joined;
  const auto share = [](std::int64_t samples, std::int64_t all) {
    return static_cast<double>(samples) / static_cast<double>(std::max<std::int64_t>(1, all));
  };
  at::Tensor step_loss;

  for (std::int64_t micro = 0; micro < rounds; ++micro) {
    const bool last = micro + 1 == rounds;
    std::int64_t samples = micro + 1 < mine.count ? mine.size : mine.last;
    at::Tensor loss;
    if (micro < mine.count) {
      loss = load_and_forward(feed, last);
    } else {
      loss = forward_without_samples(last);
      samples = 0;
    }
    backward(loss * share(samples, gradient_of), last);
    feed.copy_ahead();  // while the device computes what has been launched
    const at::Tensor reported = loss.detach() * share(samples, work.joined);
    step_loss = step_loss.defined() ? step_loss + reported : reported;
    if (last || reducer_.reduces_every_micro_batch()) {
      reduce();
    }
  }

  StepResult result;
  {
    const auto phase = recorder_.phase(Phase::kOptimizer);
    const at::NoGradGuard no_grad;
    const std::vector<Slice> slices = reducer_.slices();
    if (gradients_usable(slices)) {
      clip(slices);
      optimizer_.update(slices, lr);
    } else {
      result.skipped = true;
    }
    for (const at::Tensor& parameter : model_.parameters()) {
      parameter.mutable_grad().reset();
    }
    if (!reducer_.publish_phase()) {
      reducer_.publish();
    }
  }
  if (const auto publishing = reducer_.publish_phase()) {
    auto phase = recorder_.phase(*publishing, Stream::kCommunication);
    phase.set_bytes(reducer_.publish());
  }

  recorder_.end_step();
  result.loss = step_loss.item<double>();
  if (!std::isfinite(result.loss) && loss_scale_ == nullptr) {
    throw DeviceError(std::isnan(result.loss) ? "the loss is not a number (NaN)"
                                              : "the loss is infinite");
  }
  return result;
}

at::Tensor TrainStep::load_and_forward(BatchFeed& feed, bool last) {
  Batch batch;
  {
    const auto phase = recorder_.phase(Phase::kDataLoad, Stream::kLoader);
    batch = feed.next();
  }
  return mean_loss(batch, last);
}

// One blank image, whose loss counts nothing: the rank joins every sum in its turn.
at::Tensor TrainStep::forward_without_samples(bool last) {
  const VitSpec& vit = model_.spec();
  const at::TensorOptions options(device_.torch_device());
  return mean_loss({.images = at::zeros({1, vit.channels, vit.image_size, vit.image_size}, options),
                    .labels = at::zeros({1}, options.dtype(at::kLong))},
                   last);
}

at::Tensor TrainStep::mean_loss(const Batch& batch, bool last) {
  auto phase = recorder_.phase(Phase::kForward);
  reducer_.before_forward(last);
  at::Tensor loss =
      at::cross_entropy_loss(logits(model_, batch.images, training_.precision).to(at::kFloat),
                             batch.labels,
                             {},
                             at::Reduction::Mean,
                             /*ignore_index=*/-100,
                             training_.label_smoothing);
  phase.leave_out(reducer_.take_pauses());
  return loss;
}

void TrainStep::backward(const at::Tensor& loss, bool last) {
  auto phase = recorder_.phase(Phase::kBackward);
  reducer_.before_backward(last);
  (loss_scale_ != nullptr ? loss * loss_scale_->scale() : loss).backward();
  reducer_.after_backward(last);
  if (last && reducer_.backward_done()) {
    phase.end_at(reducer_.backward_done());
    recorder_.gradients_are_back();
  }
  phase.leave_out(reducer_.take_pauses());
}

void TrainStep::reduce() {
  if (reducer_.tracks_collectives()) {
    reducer_.reduce();
  } else {
    auto phase = recorder_.phase(Phase::kGradientAllReduce, Stream::kCommunication);
    phase.set_bytes(reducer_.reduce());
  }
}

// Takes the loss scale out of the gradients. False where one overflowed, on any rank.
bool TrainStep::gradients_usable(const std::vector<Slice>& slices) {
  if (loss_scale_ == nullptr) {
    return true;
  }
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device_.torch_device());
  at::Tensor overflow = at::zeros({1}, options);
  std::vector<at::Tensor> gradients;
  gradients.reserve(slices.size());
  for (const Slice& slice : slices) {
    gradients.push_back(slice.gradient);
  }
  if (!gradients.empty()) {
    at::_amp_foreach_non_finite_check_and_unscale_(
        gradients, overflow, at::full({1}, 1 / loss_scale_->scale(), options));
  }
  reducer_.sum_over_shards(overflow);
  const bool overflowed = overflow.item<float>() > 0;
  loss_scale_->update(overflowed);
  return !overflowed;
}

// As torch's clip_grad_norm_: scales gradients by max_norm / (norm + 1e-6) where that is below one.
void TrainStep::clip(const std::vector<Slice>& slices) {
  if (!training_.clip_norm) {
    return;
  }
  std::vector<at::Tensor> gradients;
  gradients.reserve(slices.size());
  for (const Slice& slice : slices) {
    gradients.push_back(slice.gradient);
  }
  const auto options = at::TensorOptions().dtype(at::kDouble).device(device_.torch_device());
  at::Tensor square = at::zeros({}, options);
  if (!gradients.empty()) {
    square = at::stack(at::_foreach_norm(gradients, 2)).to(at::kDouble).square().sum();
  }
  reducer_.sum_over_shards(square);
  const at::Tensor factor = (*training_.clip_norm / (square.sqrt() + 1e-6)).clamp_max(1.0);
  if (!gradients.empty()) {
    at::_foreach_mul_(gradients, factor.to(at::kFloat));
  }
}

at::Tensor logits(const VisionTransformer& model, const at::Tensor& images, Precision precision) {
  const at::DeviceType device = images.device().type();
  switch (precision) {
    case Precision::kAmpFp16: {
      const Autocast autocast(device, at::kHalf);
      return model.forward(images);
    }
    case Precision::kAmpBf16: {
      const Autocast autocast(device, at::kBFloat16);
      return model.forward(images);
    }
    default:
      return model.forward(images.to(model.parameters().front().scalar_type()));
  }
}

}  // namespace vitsim
