// ZeRO stage 1 as DeepSpeed does it since its PR 4695: after the last micro-batch's backward all
// gradients are summed on all ranks, in buckets of `reduce_bucket_size` elements; each rank updates
// the shard whose optimizer state it holds, and an AllGather brings the new weights to every rank.
// That is half as much again on the wire as an AllReduce, for 4 + 12/N bytes a parameter instead of
// 16. With `overlap_comm` buckets are summed while backward goes on; in DeepSpeed's default of 5e8
// elements there is only one.
#include "trainer/step/zero_1.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace vitsim {

namespace {

// Shards are padded to multiples of two elements, as DeepSpeed aligns them for NCCL.
constexpr std::int64_t kAlignment = 2;

// On a CPU memory that nobody touches is nobody's: no more than all gradients is ever filled.
std::int64_t bucket_elements(const ReducerContext& context) {
  const std::int64_t elements = context.training->zero.reduce_bucket_size;
  return context.device->torch_device().is_cpu()
             ? std::min(elements, parameter_count(context.model->spec()))
             : elements;
}

}  // namespace

Zero1::Zero1(const ReducerContext& context, bool every_micro_batch)
    : ShardedReducer(context, kAlignment, context.training->zero.allgather_bucket_size),
      device_(*context.device),
      every_micro_batch_(every_micro_batch),
      overlap_(context.training->zero.overlap_comm.value_or(false)),
      sum_(zeros(shard())),
      buckets_(
          {.group = context.group,
           .elements = bucket_elements(context),
           .overlap = overlap_,
           .launched = [this](const auto& work, std::int64_t bytes) { launched(work, bytes); },
           .wait = [this](c10d::Work& work) { wait(work); },
           .summed = [this](std::size_t parameter,
                            const at::Tensor& flat) { add_own_part(parameter, flat, sum_); }}) {
  if (every_micro_batch_ || overlap_) {
    hooks_.emplace(parameters(), [this](std::size_t parameter) { ready(parameter); });
  }
}

void Zero1::begin_step(const StepShare& /*share*/) {
  const at::NoGradGuard no_grad;
  sum_.zero_();
}

void Zero1::before_backward(bool last) {
  within_backward_ = last || every_micro_batch_;
}

void Zero1::after_backward(bool /*last*/) {
  within_backward_ = false;
}

std::int64_t Zero1::reduce() {
  const at::NoGradGuard no_grad;
  if (!hooks_) {
    for (std::size_t i = 0; i < parameters().size(); ++i) {
      take_gradient(i);
    }
  }
  const std::int64_t bytes = buckets_.finish();
  set_gradient(sum_);
  return bytes;
}

void Zero1::ready(std::size_t parameter) {
  if (within_backward_) {
    const at::NoGradGuard no_grad;
    take_gradient(parameter);
  }
}

void Zero1::take_gradient(std::size_t parameter) {
  at::Tensor& gradient = parameters()[parameter].mutable_grad();
  buckets_.add(parameter, gradient.defined() ? gradient : at::zeros_like(parameters()[parameter]));
  gradient.reset();
}

void Zero1::launched(const c10::intrusive_ptr<c10d::Work>& work, std::int64_t bytes) {
  if (overlap_ || within_backward_) {
    device_.track(work, Phase::kGradientAllReduce, bytes);
  }
}

void Zero1::wait(c10d::Work& work) {
  if (within_backward_) {
    wait_within_pass(device_, work);
  } else {
    work.wait();
  }
}

std::unique_ptr<GradientReducer> make_zero_1(const ReducerContext& context) {
  return std::make_unique<Zero1>(context, /*every_micro_batch=*/false);
}

}  // namespace vitsim
