#include "trainer/step/communication_hook.h"

#include <utility>

#include <ATen/ATen.h>

namespace vitsim {

c10::intrusive_ptr<c10d::Work> CommunicationHook::launch_sum(const at::Tensor& tensor) {
  std::vector<at::Tensor> tensors = {tensor};
  auto work = state_.group->allreduce(tensors);
  state_.device->track(work, Phase::kGradientAllReduce, static_cast<std::int64_t>(tensor.nbytes()));
  return work;
}

namespace {

class SumHook : public CommunicationHook {
 public:
  using CommunicationHook::CommunicationHook;

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    if (bucket.isLast()) {
      state_.backward_done();
    }
    return launch_sum(bucket.getBufferRef())->getFuture();
  }
};

// PyTorch's fp16_compress_hook and bf16_compress_hook: half of an fp32 bucket's bytes.
class ShortHook : public CommunicationHook {
 public:
  ShortHook(at::ScalarType type, HookContext context)
      : CommunicationHook(std::move(context)), type_(type) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    if (bucket.isLast()) {
      state_.backward_done();
    }
    const at::Tensor whole = bucket.getBufferRef();
    const auto widen = [whole](c10::ivalue::Future& sum) {
      const at::NoGradGuard no_grad;
      whole.copy_(sum.value().toTensorVector().front());
      return c10::IValue(whole);
    };
    return launch_sum(whole.to(type_))->getFuture()->then(widen, c10::TensorType::get());
  }

 private:
  at::ScalarType type_;
};

}  // namespace

std::unique_ptr<CommunicationHook> make_communication_hook(const std::optional<HookSpec>& spec,
                                                           HookContext context) {
  if (!spec) {
    return std::make_unique<SumHook>(std::move(context));
  }
  switch (spec->kind) {
    case HookKind::kFp16:
      return std::make_unique<ShortHook>(at::kHalf, std::move(context));
    case HookKind::kBf16:
      return std::make_unique<ShortHook>(at::kBFloat16, std::move(context));
    case HookKind::kPowerSgd:
      break;
  }
  return make_power_sgd_hook(*spec, std::move(context));
}

}  // namespace vitsim
