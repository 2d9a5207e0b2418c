#include "trainer/block_pass.h"

#include <string>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "trainer/model.h"

namespace vitsim {
namespace {

constexpr std::int64_t kLayers = 3;

VisionTransformer model_with_figures() {
  VisionTransformer model({.layers = kLayers,
                           .width = 16,
                           .heads = 2,
                           .mlp = 24,
                           .patch = 4,
                           .image_size = 8,
                           .classes = 3},
                          1);
  // The head starts at zero, which would leave every block without a gradient.
  auto generator = at::make_generator<at::CPUGeneratorImpl>(2);
  const at::NoGradGuard no_grad;
  for (const at::Tensor& parameter : model.parameters()) {
    parameter.normal_(0, 0.3, generator);
  }
  return model;
}

void forward_and_backward(const VisionTransformer& model) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const at::Tensor images = at::empty({2, 3, 8, 8}).normal_(0, 1, generator);
  model.forward(images).square().sum().backward();
}

std::vector<at::Tensor> take_gradients(const VisionTransformer& model) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : model.parameters()) {
    gradients.push_back(std::exchange(parameter.mutable_grad(), {}));
  }
  return gradients;
}

TEST(BlockPass, ComputingBlocksAgainGivesTheSameBits) {
  VisionTransformer model = model_with_figures();
  forward_and_backward(model);
  const auto kept = take_gradients(model);
  model.set_recompute(true);
  forward_and_backward(model);
  const auto recomputed = take_gradients(model);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_TRUE(kept[i].equal(recomputed[i])) << i;
    EXPECT_GT(kept[i].abs().max().item<float>(), 0) << i;
  }
}

// Writes down what it is told, and keeps the gradients.
class Diary : public BlockObserver {
 public:
  std::string text;
  std::vector<std::vector<at::Tensor>> gradients{kLayers};

  void before_block_forward(std::int64_t layer) override { text += "f" + std::to_string(layer); }

  void after_block_forward(std::int64_t layer) override { text += "F" + std::to_string(layer); }

  void before_block_backward(std::int64_t layer) override { text += "b" + std::to_string(layer); }

  void after_block_backward(std::int64_t layer, std::vector<at::Tensor> of_block) override {
    text += "B" + std::to_string(layer);
    gradients[static_cast<std::size_t>(layer)] = std::move(of_block);
  }
};

TEST(BlockPass, AnObserverGetsEachBlocksPassesAndGradients) {
  VisionTransformer model = model_with_figures();
  forward_and_backward(model);
  const auto wanted = take_gradients(model);
  for (const bool recompute : {false, true}) {
    Diary diary;
    model.set_recompute(recompute);
    model.set_block_observer(&diary);
    forward_and_backward(model);
    EXPECT_EQ(diary.text, "f0F0f1F1f2F2b2B2b1B1b0B0");
    const auto left = take_gradients(model);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const bool in_block =
          i >= VisionTransformer::block_begin(0) && i < VisionTransformer::block_begin(kLayers);
      if (!in_block) {
        EXPECT_TRUE(left[i].equal(wanted[i])) << i;
        continue;
      }
      EXPECT_FALSE(left[i].defined()) << i;
      const std::size_t at = i - VisionTransformer::block_begin(0);
      const at::Tensor& seen = diary.gradients[at / VisionTransformer::kBlockTensors]
                                              [at % VisionTransformer::kBlockTensors];
      EXPECT_TRUE(seen.equal(wanted[i])) << i;
    }
    // Where no gradient is wanted nobody is told of anything.
    diary.text.clear();
    const at::NoGradGuard no_grad;
    static_cast<void>(model.forward(at::zeros({1, 3, 8, 8})));
    EXPECT_TRUE(diary.text.empty());
    model.set_block_observer(nullptr);
  }
}

}  // namespace
}  // namespace vitsim
