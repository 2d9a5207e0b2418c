#include "trainer/step/replicated_weights.h"

#include <ATen/ATen.h>

namespace vitsim {

ReplicatedWeights::ReplicatedWeights(const std::vector<at::Tensor>& parameters)
    : parameters_(parameters) {
  if (parameters.front().scalar_type() != at::kFloat) {
    for (const at::Tensor& parameter : parameters) {
      master_.push_back(parameter.detach().to(at::kFloat));
    }
  }
}

std::vector<at::Tensor> ReplicatedWeights::weights() const {
  if (!master_.empty()) {
    return master_;
  }
  std::vector<at::Tensor> weights;
  for (const at::Tensor& parameter : parameters_) {
    weights.push_back(parameter.detach());
  }
  return weights;
}

std::vector<Slice> ReplicatedWeights::slices() const {
  std::vector<Slice> slices;
  slices.reserve(parameters_.size());
  const std::vector<at::Tensor> all = weights();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& weight = all[i];
    const at::Tensor& gradient = parameters_[i].grad();
    slices.push_back(
        {.weight = weight,
         .gradient = gradient.defined() ? gradient.to(at::kFloat) : at::zeros_like(weight),
         .parameter = i});
  }
  return slices;
}

void ReplicatedWeights::publish() const {
  if (!master_.empty()) {
    const at::NoGradGuard no_grad;
    at::_foreach_copy_(parameters_, master_);
  }
}

void ReplicatedWeights::adopt() const {
  if (!master_.empty()) {
    const at::NoGradGuard no_grad;
    at::_foreach_copy_(master_, parameters_);
  }
}

}  // namespace vitsim
