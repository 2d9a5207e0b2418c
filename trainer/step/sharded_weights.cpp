#include "trainer/step/sharded_weights.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace vitsim {

ShardedReducer::ShardedReducer(const ReducerContext& context,
                               std::int64_t multiple,
                               std::int64_t gather_elements)
    : group_(context.group), parameters_(context.parameters()), gather_elements_(gather_elements) {
  const at::NoGradGuard no_grad;
  for (const at::Tensor& parameter : parameters_) {
    begins_.push_back(elements_);
    elements_ += parameter.numel();
  }
  const std::int64_t size = group_->getSize();
  shard_ = (elements_ + size * multiple - 1) / (size * multiple) * multiple;
  begin_ = group_->getRank() * shard_;
  flat_ = zeros(shard_ * size);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& parameter = parameters_[i];
    const at::Tensor view = flat_.narrow(0, begins_[i], parameter.numel()).view(parameter.sizes());
    view.copy_(parameter);
    parameter.set_data(view);
  }
  master_ = own_part().to(at::kFloat);
}

at::Tensor ShardedReducer::zeros(std::int64_t elements) const {
  return at::zeros(elements, parameters_.front().options().requires_grad(false));
}

at::Tensor ShardedReducer::own_part() const {
  return flat_.narrow(0, begin_, shard_);
}

ShardedReducer::Overlap ShardedReducer::overlap(std::size_t index) const {
  const std::int64_t from = std::max(begins_[index], begin_);
  const std::int64_t to = std::min(begins_[index] + parameters_[index].numel(), begin_ + shard_);
  return {.offset = from - begins_[index],
          .at = from - begin_,
          .elements = std::max<std::int64_t>(0, to - from)};
}

void ShardedReducer::add_own_part(std::size_t index,
                                  const at::Tensor& flat,
                                  at::Tensor& sum) const {
  const Overlap part = overlap(index);
  if (part.elements > 0) {
    sum.narrow(0, part.at, part.elements).add_(flat.narrow(0, part.offset, part.elements));
  }
}

void ShardedReducer::set_gradient(const at::Tensor& gradient) {
  gradient_ = gradient.to(at::kFloat);
}

std::vector<Slice> ShardedReducer::slices() {
  if (!gradient_.defined()) {
    gradient_ = at::zeros_like(master_);
  }
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Overlap part = overlap(i);
    if (part.elements > 0) {
      slices.push_back({.weight = master_.narrow(0, part.at, part.elements),
                        .gradient = gradient_.narrow(0, part.at, part.elements),
                        .parameter = i,
                        .offset = part.offset});
    }
  }
  return slices;
}

std::int64_t ShardedReducer::publish() {
  const at::NoGradGuard no_grad;
  at::Tensor own = own_part();
  own.copy_(master_);  // does nothing where they are the same memory
  const std::int64_t size = group_->getSize();
  const std::int64_t calls =
      gather_elements_ > 0 ? std::clamp<std::int64_t>(flat_.numel() / gather_elements_, 1, shard_)
                           : 1;
  if (calls == 1) {
    group_->_allgather_base(flat_, own)->wait();
  } else {
    // The same stretch of every shard, by way of a buffer; the last takes what is left over.
    const at::Tensor shards = flat_.view({size, shard_});
    const std::int64_t each = shard_ / calls;
    for (std::int64_t call = 0; call < calls; ++call) {
      const std::int64_t at = call * each;
      const std::int64_t length = call + 1 < calls ? each : shard_ - at;
      at::Tensor part = own.narrow(0, at, length).clone();
      at::Tensor all = zeros(size * length);
      group_->_allgather_base(all, part)->wait();
      shards.narrow(1, at, length).copy_(all.view({size, length}));
    }
  }
  return static_cast<std::int64_t>(flat_.nbytes());
}

void ShardedReducer::sum_over_shards(at::Tensor& values) {
  std::vector<at::Tensor> tensors = {values};
  group_->allreduce(tensors)->wait();
}

void ShardedReducer::adopt_model() {
  const at::NoGradGuard no_grad;
  master_.copy_(own_part());
}

}  // namespace vitsim
