#include "trainer/step/gradient_buckets.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace vitsim {

void GradientBuckets::add(std::size_t parameter, const at::Tensor& gradient) {
  const std::int64_t count = gradient.numel();
  if (count > settings_.elements) {
    flush();
    launch(gradient.reshape(-1), {{.parameter = parameter, .begin = 0, .elements = count}});
    return;
  }
  if (filled_ + count > settings_.elements) {
    flush();
  }
  if (!buffer_.defined()) {
    buffer_ = at::empty(settings_.elements, gradient.options());
  }
  buffer_.narrow(0, filled_, count).copy_(gradient.reshape(-1));
  entries_.push_back({.parameter = parameter, .begin = filled_, .elements = count});
  filled_ += count;
}

void GradientBuckets::flush() {
  if (entries_.empty()) {
    return;
  }
  launch(buffer_.narrow(0, 0, filled_), std::exchange(entries_, {}));
  filled_ = 0;
  if (settings_.overlap) {
    // `launch` has waited for the sum before this one, whose buffer is free now.
    std::swap(buffer_, other_);
  }
}

void GradientBuckets::launch(at::Tensor flat, std::vector<Entry> entries) {
  take_pending();
  const auto bytes = static_cast<std::int64_t>(flat.nbytes());
  bytes_ += bytes;
  std::vector<at::Tensor> tensors = {flat};
  Bucket bucket{.flat = std::move(flat),
                .entries = std::move(entries),
                .work = settings_.group->allreduce(tensors)};
  settings_.launched(bucket.work, bytes);
  if (settings_.overlap) {
    pending_.push_back(std::move(bucket));
  } else {
    take(bucket);
  }
}

void GradientBuckets::take_pending() {
  for (const Bucket& bucket : std::exchange(pending_, {})) {
    take(bucket);
  }
}

void GradientBuckets::take(const Bucket& bucket) {
  settings_.wait(*bucket.work);
  for (const Entry& entry : bucket.entries) {
    settings_.summed(entry.parameter, bucket.flat.narrow(0, entry.begin, entry.elements));
  }
}

std::int64_t GradientBuckets::finish() {
  flush();
  take_pending();
  buffer_.reset();
  other_.reset();
  return std::exchange(bytes_, 0);
}

namespace {

class ReadyHook : public torch::autograd::PostAccumulateGradHook {
 public:
  ReadyHook(std::size_t parameter, std::function<void(std::size_t)> ready)
      : parameter_(parameter), ready_(std::move(ready)) {}

  void operator()(const at::Tensor& /*tensor*/) override { ready_(parameter_); }

 private:
  std::size_t parameter_;
  std::function<void(std::size_t)> ready_;
};

}  // namespace

GradientHooks::GradientHooks(const std::vector<at::Tensor>& parameters,
                             const std::function<void(std::size_t parameter)>& ready)
    : parameters_(parameters) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters[i],
                                                   std::make_unique<ReadyHook>(i, ready));
  }
}

GradientHooks::~GradientHooks() {
  for (const at::Tensor& parameter : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
  }
}

}  // namespace vitsim
