#include "trainer/step/train_step.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include "models/error.h"

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
StepResult TrainStep::run(EpochLoader& loader,
                          const StepShape& mine,
                          std::int64_t joined,
                          double lr) {
  at::Tensor step_loss;

  for (std::int64_t micro = 0; micro < mine.count; ++micro) {
    const bool last = micro + 1 == mine.count;
    const std::int64_t samples = last ? mine.last : mine.size;
    const at::Tensor loss =
        load_and_forward(loader, last, static_cast<double>(samples) / static_cast<double>(joined));
    backward(loss, last);
    step_loss = step_loss.defined() ? step_loss + loss.detach() : loss.detach();
  }
  if (mine.count == 0) {
    step_loss = loss_without_samples(true);
    backward(step_loss, true);
  }

  if (!reducer_.backward_done()) {
    auto phase = recorder_.phase(Phase::kGradientAllReduce, Stream::kCommunication);
    phase.set_bytes(reducer_.reduce());
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
    if (!reducer_.sharded()) {
      reducer_.publish();
    }
  }
  if (reducer_.sharded()) {
    auto phase = recorder_.phase(Phase::kGradientAllReduce, Stream::kCommunication);
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

at::Tensor TrainStep::load_and_forward(EpochLoader& loader, bool last, double weight) {
  Batch batch;
  {
    const auto phase = recorder_.phase(Phase::kDataLoad, Stream::kLoader);
    batch = loader.next();
    const bool asynchronous = batch.images.is_pinned();
    batch.images = batch.images.to(device_.torch_device(), asynchronous);
    batch.labels = batch.labels.to(device_.torch_device(), asynchronous);
  }
  const auto phase = recorder_.phase(Phase::kForward);
  reducer_.before_forward(last);
  const at::Tensor mean =
      at::cross_entropy_loss(logits(model_, batch.images, training_.precision).to(at::kFloat),
                             batch.labels,
                             {},
                             at::Reduction::Mean,
                             /*ignore_index=*/-100,
                             training_.label_smoothing);
  return mean * weight;
}

at::Tensor TrainStep::loss_without_samples(bool last) {
  const auto phase = recorder_.phase(Phase::kForward);
  reducer_.before_forward(last);
  at::Tensor zero = at::zeros({}, at::TensorOptions().device(device_.torch_device()));
  for (const at::Tensor& parameter : model_.parameters()) {
    zero = zero + (parameter * 0).sum().to(at::kFloat);
  }
  return zero;
}

void TrainStep::backward(const at::Tensor& loss, bool last) {
  auto phase = recorder_.phase(Phase::kBackward);
  reducer_.before_backward(last);
  (loss_scale_ != nullptr ? loss * loss_scale_->scale() : loss).backward();
  if (last && reducer_.backward_done()) {
    phase.end_at(reducer_.backward_done());
    recorder_.gradients_are_back();
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

namespace {

// torch.autocast for the life of the object. Weights' casts are cached within a pass.
class Autocast {
 public:
  Autocast(at::DeviceType device, at::ScalarType type)
      : device_(device), enabled_before_(at::autocast::is_autocast_enabled(device)) {
    at::autocast::increment_nesting();
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, type);
  }

  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  ~Autocast() {
    at::autocast::set_autocast_enabled(device_, enabled_before_);
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
  }

 private:
  at::DeviceType device_;
  bool enabled_before_;
};

}  // namespace

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
