#include "trainer/optimizer.h"

#include <cmath>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "models/error.h"

namespace vitsim {

namespace {

std::vector<at::Tensor> zeros_like_weights(const std::vector<Slice>& slices) {
  std::vector<at::Tensor> zeros;
  zeros.reserve(slices.size());
  for (const Slice& slice : slices) {
    zeros.push_back(at::zeros_like(slice.weight, at::MemoryFormat::Contiguous));
  }
  return zeros;
}

struct Lists {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> gradients;
};

Lists lists(const std::vector<Slice>& slices) {
  Lists result;
  for (const Slice& slice : slices) {
    result.weights.push_back(slice.weight);
    result.gradients.push_back(slice.gradient);
  }
  return result;
}

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerSpec& spec, const std::vector<Slice>& slices)
      : spec_(spec), mean_(zeros_like_weights(slices)), square_(zeros_like_weights(slices)) {
    for (const Slice& slice : slices) {
      steps_.push_back(at::zeros({}, slice.weight.options().dtype(at::kFloat)));
    }
  }

  void update(const std::vector<Slice>& slices, double lr) override {
    ++updates_;
    if (slices.empty()) {
      return;
    }
    at::_foreach_add_(steps_, 1);
    const auto [weights, gradients] = lists(slices);
    at::_fused_adamw_(weights,
                      gradients,
                      mean_,
                      square_,
                      {},
                      steps_,
                      lr,
                      spec_.betas[0],
                      spec_.betas[1],
                      spec_.weight_decay,
                      spec_.eps,
                      /*amsgrad=*/false,
                      /*maximize=*/false);
  }

  [[nodiscard]] std::vector<State> state() const override {
    return {{"exp_avg", mean_}, {"exp_avg_sq", square_}};
  }

  [[nodiscard]] std::int64_t updates() const override { return updates_; }

  void set_updates(std::int64_t updates) override {
    updates_ = updates;
    for (const at::Tensor& step : steps_) {
      step.fill_(updates);
    }
  }

 private:
  OptimizerSpec spec_;
  std::int64_t updates_ = 0;
  std::vector<at::Tensor> mean_;
  std::vector<at::Tensor> square_;
  std::vector<at::Tensor> steps_;  // the kernel wants its counter as tensors
};

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerSpec& spec, const std::vector<Slice>& slices)
      : spec_(spec), momentum_(zeros_like_weights(slices)) {}

  void update(const std::vector<Slice>& slices, double lr) override {
    // Momentum starts at zero, which makes the first update equal to torch's "first step" case.
    ++updates_;
    if (slices.empty()) {
      return;
    }
    const auto [weights, gradients] = lists(slices);
    std::vector<at::Tensor> direction = at::_foreach_add(gradients, weights, spec_.weight_decay);
    at::_foreach_mul_(momentum_, spec_.momentum);
    at::_foreach_add_(momentum_, direction, 1);
    at::_foreach_add_(weights, momentum_, -lr);
  }

  [[nodiscard]] std::vector<State> state() const override { return {{"momentum", momentum_}}; }

  [[nodiscard]] std::int64_t updates() const override { return updates_; }

  void set_updates(std::int64_t updates) override { updates_ = updates; }

 private:
  OptimizerSpec spec_;
  std::int64_t updates_ = 0;
  std::vector<at::Tensor> momentum_;
};

class Lamb : public Optimizer {
 public:
  Lamb(const OptimizerSpec& spec,
       const std::vector<Slice>& slices,
       std::size_t parameters,
       SumOverShards sum_over_shards)
      : spec_(spec),
        parameters_(parameters),
        sum_over_shards_(std::move(sum_over_shards)),
        mean_(zeros_like_weights(slices)),
        square_(zeros_like_weights(slices)) {
    std::vector<std::int64_t> owners;
    owners.reserve(slices.size());
    for (const Slice& slice : slices) {
      owners.push_back(static_cast<std::int64_t>(slice.parameter));
    }
    owners_ = at::tensor(owners, at::kLong).to(device(slices));
  }

  void update(const std::vector<Slice>& slices, double lr) override {
    ++updates_;
    const auto n = static_cast<double>(updates_);
    const double mean_correction = 1 - std::pow(spec_.betas[0], n);
    const double square_correction = 1 - std::pow(spec_.betas[1], n);
    const auto [weights, gradients] = lists(slices);

    at::_foreach_mul_(mean_, spec_.betas[0]);
    at::_foreach_add_(mean_, gradients, 1 - spec_.betas[0]);
    at::_foreach_mul_(square_, spec_.betas[1]);
    at::_foreach_addcmul_(square_, gradients, gradients, 1 - spec_.betas[1]);

    std::vector<at::Tensor> direction = at::_foreach_div(square_, square_correction);
    at::_foreach_sqrt_(direction);
    at::_foreach_add_(direction, spec_.eps);
    direction = at::_foreach_div(mean_, direction);
    at::_foreach_mul_(direction, 1 / mean_correction);
    at::_foreach_add_(direction, weights, spec_.weight_decay);

    // Squared norms of every whole parameter and of its direction: a shard sees only parts.
    at::Tensor squares = at::zeros({2, static_cast<std::int64_t>(parameters_)},
                                   at::TensorOptions().dtype(at::kDouble).device(device(slices)));
    if (!slices.empty()) {
      const auto square_norms = [](const std::vector<at::Tensor>& tensors) {
        return at::stack(at::_foreach_norm(tensors, 2)).to(at::kDouble).square();
      };
      squares.index_add_(1, owners_, at::stack({square_norms(weights), square_norms(direction)}));
    }
    sum_over_shards_(squares);
    const at::Tensor weight_norm = squares[0].sqrt();
    const at::Tensor direction_norm = squares[1].sqrt();
    const at::Tensor usable = weight_norm.gt(0).logical_and(direction_norm.gt(0));
    const at::Tensor trust =
        at::where(usable, (weight_norm / direction_norm).clamp(kLeastTrust, kMostTrust), 1.0)
            .to(at::kFloat);
    if (slices.empty()) {
      return;
    }
    // Grouped kernels take factors that differ by tensor from the host alone. Waiting for these few
    // numbers costs less than a kernel for every tensor would.
    const at::Tensor on_host = trust.index_select(0, owners_).cpu();
    const auto* ratio = on_host.const_data_ptr<float>();
    std::vector<at::Scalar> factors;
    for (std::size_t i = 0; i < slices.size(); ++i) {
      factors.emplace_back(static_cast<double>(ratio[i]) * lr);
    }
    at::_foreach_mul_(direction, factors);
    at::_foreach_sub_(weights, direction);
  }

  [[nodiscard]] std::vector<State> state() const override {
    return {{"exp_avg", mean_}, {"exp_avg_sq", square_}};
  }

  [[nodiscard]] std::int64_t updates() const override { return updates_; }

  void set_updates(std::int64_t updates) override { updates_ = updates; }

 private:
  // DeepSpeed's min_coeff and max_coeff.
  static constexpr double kLeastTrust = 0.01;
  static constexpr double kMostTrust = 10;

  static at::Device device(const std::vector<Slice>& slices) {
    return slices.empty() ? at::Device(at::kCPU) : slices.front().weight.device();
  }

  OptimizerSpec spec_;
  std::size_t parameters_;
  SumOverShards sum_over_shards_;
  std::int64_t updates_ = 0;
  at::Tensor owners_;  // by slice: its parameter
  std::vector<at::Tensor> mean_;
  std::vector<at::Tensor> square_;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSpec& spec,
                                          const std::vector<Slice>& slices,
                                          std::size_t parameters,
                                          SumOverShards sum_over_shards) {
  const at::NoGradGuard no_grad;
  switch (spec.kind) {
    case OptimizerKind::kAdamW:
      return std::make_unique<AdamW>(spec, slices);
    case OptimizerKind::kSgd:
      return std::make_unique<Sgd>(spec, slices);
    case OptimizerKind::kLamb:
      return std::make_unique<Lamb>(spec, slices, parameters, std::move(sum_over_shards));
    case OptimizerKind::kOneBitAdam:
    case OptimizerKind::kOneBitLamb:
    case OptimizerKind::kZeroOneAdam:
      break;
  }
  throw InternalError("unknown optimizer");
}

}  // namespace vitsim
