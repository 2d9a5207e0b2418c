// ZeRO stage 1 (Rajbhandari et al., 2020): the optimizer's state is cut in N shards, one a rank.
// The model's parameters become views of one flat buffer, padded to N equal shards. After backward
// the flat gradients are reduce-scattered, so that each rank holds the sum of its own shard; it
// updates that shard (in fp32, on a master copy where the model is in 16 bits), and an all-gather
// brings the new weights to every rank. Bytes on the wire are those of an AllReduce.
//
// A shard's borders cut through tensors. The optimizer sees the pieces ("slices"); what needs whole
// tensors or the whole gradient, LAMB's norms and clipping, sums its squares over shards.
#include <ATen/ATen.h>

#include "trainer/step/gradient_reducer.h"

namespace vitsim {

namespace {

class Zero1 : public GradientReducer {
 public:
  explicit Zero1(const ReducerContext& context)
      : group_(context.group), parameters_(*context.parameters) {
    const at::NoGradGuard no_grad;
    for (const at::Tensor& parameter : parameters_) {
      elements_ += parameter.numel();
    }
    const std::int64_t size = group_->getSize();
    shard_ = (elements_ + size - 1) / size;
    begin_ = group_->getRank() * shard_;
    const auto options = parameters_.front().options().requires_grad(false);
    flat_ = at::zeros(shard_ * size, options);
    flat_gradient_ = at::zeros(shard_ * size, options);
    std::int64_t at = 0;
    for (const at::Tensor& parameter : parameters_) {
      const at::Tensor view = flat_.narrow(0, at, parameter.numel()).view(parameter.sizes());
      view.copy_(parameter);
      parameter.set_data(view);
      at += parameter.numel();
    }
    // In fp32 the master weights are the model's own.
    master_ = own_part(flat_).to(at::kFloat);
    gradient_ = at::zeros(shard_, options);
  }

  std::int64_t reduce() override {
    const at::NoGradGuard no_grad;
    std::int64_t at = 0;
    for (const at::Tensor& parameter : parameters_) {
      at::Tensor part = flat_gradient_.narrow(0, at, parameter.numel());
      if (parameter.grad().defined()) {
        part.copy_(parameter.grad().reshape(-1));
      } else {
        part.zero_();
      }
      at += parameter.numel();
    }
    flat_gradient_.narrow(0, elements_, flat_gradient_.numel() - elements_).zero_();
    group_->_reduce_scatter_base(gradient_, flat_gradient_)->wait();
    master_gradient_ = gradient_.to(at::kFloat);
    return static_cast<std::int64_t>(flat_gradient_.nbytes());
  }

  [[nodiscard]] std::vector<Slice> slices() override {
    if (!master_gradient_.defined()) {
      master_gradient_ = at::zeros_like(master_);
    }
    std::vector<Slice> slices;
    std::int64_t at = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const std::int64_t from = std::max(at, begin_);
      const std::int64_t to = std::min(at + parameters_[i].numel(), begin_ + shard_);
      if (from < to) {
        slices.push_back({.weight = master_.narrow(0, from - begin_, to - from),
                          .gradient = master_gradient_.narrow(0, from - begin_, to - from),
                          .parameter = i,
                          .offset = from - at});
      }
      at += parameters_[i].numel();
    }
    return slices;
  }

  std::int64_t publish() override {
    const at::NoGradGuard no_grad;
    at::Tensor own = own_part(flat_);
    own.copy_(master_);  // does nothing where they are the same memory
    group_->_allgather_base(flat_, own)->wait();
    return static_cast<std::int64_t>(flat_.nbytes());
  }

  void sum_over_shards(at::Tensor& values) override {
    std::vector<at::Tensor> tensors = {values};
    group_->allreduce(tensors)->wait();
  }

  [[nodiscard]] bool sharded() const override { return true; }

  void adopt_model() override {
    const at::NoGradGuard no_grad;
    master_.copy_(own_part(flat_));
  }

 private:
  [[nodiscard]] at::Tensor own_part(const at::Tensor& flat) const {
    return flat.narrow(0, begin_, shard_);
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  const std::vector<at::Tensor>& parameters_;
  std::int64_t elements_ = 0;
  std::int64_t shard_ = 0;  // elements of a shard, padding included
  std::int64_t begin_ = 0;
  at::Tensor flat_;
  at::Tensor flat_gradient_;
  at::Tensor gradient_;
  at::Tensor master_;
  at::Tensor master_gradient_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_zero_1(const ReducerContext& context) {
  return std::make_unique<Zero1>(context);
}

std::unique_ptr<GradientReducer> make_gradient_reducer(GradientSync kind,
                                                       const ReducerContext& context) {
  switch (kind) {
    case GradientSync::kDdp:
      return context.group->getSize() == 1 ? make_alone(context) : make_ddp(context);
    case GradientSync::kDeepspeedZero0:
      return make_zero_0(context);
    case GradientSync::kDeepspeedZero1:
    case GradientSync::kDistributedOptimizer:
      return make_zero_1(context);
    case GradientSync::kDeepspeedZero2:
    case GradientSync::kDeepspeedZero3:
    case GradientSync::kFsdp:
      break;
  }
  throw std::logic_error("unknown gradient_sync");
}

}  // namespace vitsim
