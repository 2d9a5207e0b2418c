// Gradient reduction of DeepSpeed without ZeRO (runtime/engine.py, buffered_allreduce_fallback):
// after the last micro-batch's backward, gradients in the model's order are copied into one flat
// buffer, summed over ranks in one blocking AllReduce, and copied back. A buffer is closed once it
// holds more than 5e8 elements, so only the largest models need two. Nothing overlaps backward, and
// `reduce_bucket_size` has no effect at this stage.
#include <ATen/ATen.h>

#include "trainer/step/replicated_weights.h"

namespace vitsim {

namespace {

constexpr std::int64_t kElementsPerBuffer = 500'000'000;

class Zero0 : public ReplicatedReducer {
 public:
  explicit Zero0(const ReducerContext& context)
      : ReplicatedReducer(context), group_(context.group), parameters_(context.parameters()) {}

  std::int64_t reduce() override {
    const at::NoGradGuard no_grad;
    std::int64_t bytes = 0;
    std::vector<at::Tensor> buffer;
    std::int64_t elements = 0;
    for (const at::Tensor& parameter : parameters_) {
      if (!parameter.grad().defined()) {
        parameter.mutable_grad() = at::zeros_like(parameter);
      }
      buffer.push_back(parameter.grad());
      elements += parameter.numel();
      if (elements > kElementsPerBuffer) {
        bytes += reduce_buffer(buffer);
        buffer.clear();
        elements = 0;
      }
    }
    return bytes + reduce_buffer(buffer);
  }

 private:
  std::int64_t reduce_buffer(const std::vector<at::Tensor>& gradients) {
    if (gradients.empty()) {
      return 0;
    }
    std::vector<at::Tensor> flat_parts;
    flat_parts.reserve(gradients.size());
    for (const at::Tensor& gradient : gradients) {
      flat_parts.push_back(gradient.reshape(-1));
    }
    at::Tensor flat = at::cat(flat_parts);
    std::vector<at::Tensor> tensors = {flat};
    group_->allreduce(tensors)->wait();
    std::int64_t at = 0;
    for (const at::Tensor& gradient : gradients) {
      gradient.copy_(flat.narrow(0, at, gradient.numel()).view(gradient.sizes()));
      at += gradient.numel();
    }
    return static_cast<std::int64_t>(flat.nbytes());
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  const std::vector<at::Tensor>& parameters_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_zero_0(const ReducerContext& context) {
  return std::make_unique<Zero0>(context);
}

}  // namespace vitsim
