#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

void no_shards(at::Tensor&) {}

std::vector<Slice> one_slice(std::vector<float> weights, std::vector<float> gradients) {
  return {{.weight = at::tensor(weights), .gradient = at::tensor(gradients)}};
}

TEST(AdamW, FirstUpdateMovesByTheLearningRateAndDecays) {
  // m = 0.1 g, v = 0.001 g^2, both corrected to g and g^2: the step is lr x g / (|g| + eps), and
  // weights shrink by lr x decay first.
  auto slices = one_slice({1.0F, -2.0F}, {0.5F, -3.0F});
  const auto optimizer = make_optimizer(
      {.kind = OptimizerKind::kAdamW, .weight_decay = 0.1, .eps = 1e-8}, slices, 1, no_shards);
  optimizer->update(slices, 0.01);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), 1.0 * (1 - 0.001) - 0.01, 1e-6);
  EXPECT_NEAR(slices[0].weight[1].item<float>(), -2.0 * (1 - 0.001) + 0.01, 1e-6);
  EXPECT_EQ(optimizer->updates(), 1);
}

TEST(AdamW, SecondUpdateUsesItsMoments) {
  // Gradients 1 then 0: m = 0.9 x 0.1 = 0.09 over 1 - 0.81 = 0.19; v = 0.999 x 0.001 over 1 -
  // 0.998001.
  auto slices = one_slice({0.0F}, {1.0F});
  const auto optimizer = make_optimizer(
      {.kind = OptimizerKind::kAdamW, .weight_decay = 0, .eps = 0}, slices, 1, no_shards);
  optimizer->update(slices, 0.1);
  slices[0].gradient.zero_();
  optimizer->update(slices, 0.1);
  const double second = (0.09 / 0.19) / std::sqrt(0.000999 / 0.001999);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), -0.1 - 0.1 * second, 1e-6);
}

TEST(Sgd, MomentumAccumulatesAndDecayIsAddedToTheGradient) {
  // buffer: 1 + 0.5 x 2 = 2, weight 2 - 0.1 x 2 = 1.8; then 0.9 x 2 + 1 + 0.5 x 1.8 = 3.7.
  auto slices = one_slice({2.0F}, {1.0F});
  const auto optimizer = make_optimizer(
      {.kind = OptimizerKind::kSgd, .weight_decay = 0.5, .momentum = 0.9}, slices, 1, no_shards);
  optimizer->update(slices, 0.1);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), 1.8, 1e-6);
  optimizer->update(slices, 0.1);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), 1.8 - 0.37, 1e-6);
}

TEST(Lamb, StepIsScaledByTheTrustRatio) {
  // First update, no decay: the direction is g / |g| = (1, -1), of norm sqrt(2); the weights' norm
  // is 5. Trust is 5 / sqrt(2).
  auto slices = one_slice({3.0F, 4.0F}, {0.2F, -7.0F});
  const auto optimizer = make_optimizer(
      {.kind = OptimizerKind::kLamb, .weight_decay = 0, .eps = 1e-12}, slices, 1, no_shards);
  optimizer->update(slices, 0.01);
  const double step = 0.01 * 5 / std::sqrt(2.0);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), 3 - step, 1e-5);
  EXPECT_NEAR(slices[0].weight[1].item<float>(), 4 + step, 1e-5);
}

TEST(Lamb, TrustIsBoundedAndOneForZeroWeights) {
  auto slices = one_slice({0.0F}, {1.0F});
  const auto optimizer = make_optimizer(
      {.kind = OptimizerKind::kLamb, .weight_decay = 0, .eps = 0}, slices, 1, no_shards);
  optimizer->update(slices, 0.5);
  EXPECT_NEAR(slices[0].weight[0].item<float>(), -0.5, 1e-6);

  auto large = one_slice({1000.0F}, {1.0F});
  make_optimizer({.kind = OptimizerKind::kLamb, .weight_decay = 0, .eps = 0}, large, 1, no_shards)
      ->update(large, 0.5);
  EXPECT_NEAR(large[0].weight[0].item<float>(), 1000 - 0.5 * 10, 1e-3);
}

TEST(Lamb, ShardsOfOneParameterActAsTheWhole) {
  // Two halves of a parameter whose sums over shards are the whole's: the second half's squares
  // come in through the sum, as they would from another rank.
  auto whole = one_slice({3.0F, 4.0F}, {0.2F, -7.0F});
  make_optimizer({.kind = OptimizerKind::kLamb}, whole, 1, no_shards)->update(whole, 0.01);
  auto half = one_slice({3.0F}, {0.2F});
  const double direction = -1 + 0.01 * 4;  // g / |g| + decay x weight of the other half
  make_optimizer({.kind = OptimizerKind::kLamb}, half, 1, [&](at::Tensor& squares) {
    squares[0][0] += 16.0;
    squares[1][0] += direction * direction;
  })->update(half, 0.01);
  EXPECT_NEAR(half[0].weight[0].item<float>(), whole[0].weight[0].item<float>(), 1e-5);
}

// LAMB written tensor by tensor and in double precision, from the paper's algorithm 2 with
// DeepSpeed's bounds on the trust ratio.
class PlainLamb {
 public:
  void update(std::vector<Slice>& slices, double lr) {
    const OptimizerSpec spec{.kind = OptimizerKind::kLamb};
    mean_.resize(slices.size());
    square_.resize(slices.size());
    ++updates_;
    for (std::size_t i = 0; i < slices.size(); ++i) {
      const at::Tensor gradient = slices[i].gradient.to(at::kDouble);
      const at::Tensor weight = slices[i].weight.to(at::kDouble);
      if (!mean_[i].defined()) {
        mean_[i] = at::zeros_like(gradient);
        square_[i] = at::zeros_like(gradient);
      }
      mean_[i] = spec.betas[0] * mean_[i] + (1 - spec.betas[0]) * gradient;
      square_[i] = spec.betas[1] * square_[i] + (1 - spec.betas[1]) * gradient * gradient;
      const at::Tensor mean = mean_[i] / (1 - std::pow(spec.betas[0], updates_));
      const at::Tensor square = square_[i] / (1 - std::pow(spec.betas[1], updates_));
      const at::Tensor direction = mean / (square.sqrt() + spec.eps) + spec.weight_decay * weight;
      const double weight_norm = weight.norm().item<double>();
      const double direction_norm = direction.norm().item<double>();
      const double trust = weight_norm > 0 && direction_norm > 0
                               ? std::clamp(weight_norm / direction_norm, 0.01, 10.0)
                               : 1.0;
      slices[i].weight.copy_(weight - lr * trust * direction);
    }
  }

 private:
  int updates_ = 0;
  std::vector<at::Tensor> mean_;
  std::vector<at::Tensor> square_;
};

TEST(Lamb, GroupedKernelsDoWhatOneTensorAfterTheOtherDoes) {
  // Tensors of a ViT's shapes, one of zeros, and one scalar; five updates.
  auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
  std::vector<Slice> grouped;
  std::vector<Slice> plain;
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {1, 1, 48}, {144, 48}, {144}, {3, 3, 4, 4}, {10}, {}}) {
    const at::Tensor weight = shape.size() == 1 && shape[0] == 10
                                  ? at::zeros(shape)
                                  : at::empty(shape).normal_(0, 0.3, generator);
    const Slice slice{.weight = weight, .gradient = at::zeros(shape), .parameter = grouped.size()};
    grouped.push_back(slice);
    plain.push_back(slice);
    plain.back().weight = weight.clone();
  }
  const auto optimizer =
      make_optimizer({.kind = OptimizerKind::kLamb}, grouped, grouped.size(), no_shards);
  PlainLamb reference;
  for (int update = 0; update < 5; ++update) {
    for (const Slice& slice : grouped) {
      slice.gradient.normal_(0, 0.1, generator);  // the same tensor in both lists
    }
    optimizer->update(grouped, 0.01);
    reference.update(plain, 0.01);
  }
  // fp32 sums of thousands of squares agree with double ones to about 1e-6.
  for (std::size_t i = 0; i < grouped.size(); ++i) {
    EXPECT_TRUE(at::allclose(grouped[i].weight, plain[i].weight, 1e-5, 1e-6)) << "tensor " << i;
  }
}

TEST(Lamb, PartsOfOneParameterInOneListActAsTheWhole) {
  // A rank may hold two pieces of one parameter: their squares belong together.
  auto whole = one_slice({3.0F, 4.0F, -1.0F}, {0.2F, -7.0F, 0.1F});
  make_optimizer({.kind = OptimizerKind::kLamb}, whole, 1, no_shards)->update(whole, 0.01);
  std::vector<Slice> parts = {
      {.weight = at::tensor({3.0F, 4.0F}), .gradient = at::tensor({0.2F, -7.0F}), .parameter = 0},
      {.weight = at::tensor({-1.0F}), .gradient = at::tensor({0.1F}), .parameter = 0, .offset = 2}};
  make_optimizer({.kind = OptimizerKind::kLamb}, parts, 1, no_shards)->update(parts, 0.01);
  EXPECT_TRUE(
      at::allclose(at::cat({parts[0].weight, parts[1].weight}), whole[0].weight, 1e-6, 1e-7));
}

TEST(Optimizers, GoOnFromTheirState) {
  for (const OptimizerKind kind :
       {OptimizerKind::kAdamW, OptimizerKind::kSgd, OptimizerKind::kLamb}) {
    auto one = one_slice({1.0F, 2.0F, 3.0F}, {0.1F, -0.2F, 0.3F});
    const auto first = make_optimizer({.kind = kind}, one, 1, no_shards);
    first->update(one, 0.1);
    std::vector<Slice> two = {
        {.weight = one[0].weight.clone(), .gradient = one[0].gradient.clone()}};
    const auto second = make_optimizer({.kind = kind}, two, 1, no_shards);
    const auto from = first->state();
    const auto to = second->state();
    ASSERT_EQ(from.size(), to.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
      to[i].tensors[0].copy_(from[i].tensors[0]);
    }
    second->set_updates(first->updates());
    first->update(one, 0.1);
    second->update(two, 0.1);
    EXPECT_TRUE(one[0].weight.equal(two[0].weight)) << name(kind);
  }
}

}  // namespace
}  // namespace vitsim
