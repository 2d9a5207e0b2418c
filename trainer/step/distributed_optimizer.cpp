// Megatron's distributed optimizer: after backward the flat gradients are reduce-scattered, so that
// each rank holds the sum of its own shard; it updates that shard, and an AllGather brings the new
// weights to every rank. Bytes on the wire are those of an AllReduce.
#include <ATen/ATen.h>

#include "trainer/step/sharded_weights.h"

namespace vitsim {

namespace {

class DistributedOptimizer : public ShardedReducer {
 public:
  explicit DistributedOptimizer(const ReducerContext& context)
      : ShardedReducer(context, /*multiple=*/1),
        flat_gradient_(zeros(shard() * context.group->getSize())),
        own_(zeros(shard())) {}

  std::int64_t reduce() override {
    const at::NoGradGuard no_grad;
    std::int64_t at = 0;
    for (const at::Tensor& parameter : parameters()) {
      at::Tensor part = flat_gradient_.narrow(0, at, parameter.numel());
      if (parameter.grad().defined()) {
        part.copy_(parameter.grad().reshape(-1));
      } else {
        part.zero_();
      }
      at += parameter.numel();
    }
    flat_gradient_.narrow(0, elements(), flat_gradient_.numel() - elements()).zero_();
    group()._reduce_scatter_base(own_, flat_gradient_)->wait();
    set_gradient(own_);
    return static_cast<std::int64_t>(flat_gradient_.nbytes());
  }

 private:
  at::Tensor flat_gradient_;
  at::Tensor own_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_distributed_optimizer(const ReducerContext& context) {
  return std::make_unique<DistributedOptimizer>(context);
}

}  // namespace vitsim
