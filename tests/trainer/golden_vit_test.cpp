#include <fstream>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trainer/model.h"

namespace vitsim {
namespace {

// Figures of Python's torchvision: golden_vit.py, beside this file, made them.
const nlohmann::json& golden() {
  static const auto json =
      nlohmann::json::parse(std::ifstream(VITSIM_SOURCE_DIR "/tests/trainer/golden_vit.json"));
  return json;
}

VitSpec spec() {
  const auto& model = golden()["model"];
  return {.layers = model["num_layers"],
          .width = model["hidden_dim"],
          .heads = model["num_heads"],
          .mlp = model["mlp_dim"],
          .patch = model["patch_size"],
          .image_size = model["image_size"],
          .classes = model["num_classes"]};
}

// fp32 sums of a few thousand terms, added in another order, agree to about 1e-6 of their size.
void expect_summary(const at::Tensor& tensor,
                    const nlohmann::json& expected,
                    const std::string& name) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).flatten();
  const double scale = expected["absolute"].get<double>() + 1e-6;
  EXPECT_NEAR(flat.sum().item<double>(), expected["sum"].get<double>(), 2e-5 * scale) << name;
  EXPECT_NEAR(flat.abs().sum().item<double>(), expected["absolute"].get<double>(), 2e-5 * scale)
      << name;
  for (std::size_t i = 0; i < expected["first"].size(); ++i) {
    const double value = expected["first"][i].get<double>();
    EXPECT_NEAR(
        flat[static_cast<std::int64_t>(i)].item<double>(), value, 2e-5 * (std::abs(value) + 1e-3))
        << name << "[" << i << "]";
  }
}

TEST(GoldenVit, StartsWithTorchvisionsValues) {
  const VisionTransformer model(spec(), golden()["seed_of_model"].get<std::uint64_t>());
  const auto names = parameters(spec());
  ASSERT_EQ(names.size(), golden()["first_values"].size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    expect_summary(model.parameters()[i], golden()["first_values"][names[i].name], names[i].name);
  }
}

TEST(GoldenVit, LogitsLossAndGradientsAreTorchvisions) {
  VisionTransformer model(spec(), 1);
  auto generator =
      at::make_generator<at::CPUGeneratorImpl>(golden()["seed_of_figures"].get<std::uint64_t>());
  at::Tensor images;
  {
    const at::NoGradGuard no_grad;
    for (const at::Tensor& parameter : model.parameters()) {
      parameter.normal_(0, 0.2, generator);
    }
    images =
        at::empty({golden()["images"].get<std::int64_t>(), 3, spec().image_size, spec().image_size})
            .normal_(0, 1, generator);
  }
  const at::Tensor logits = model.forward(images);
  const auto& expected = golden()["logits"];
  for (std::int64_t i = 0; i < logits.size(0); ++i) {
    for (std::int64_t j = 0; j < logits.size(1); ++j) {
      EXPECT_NEAR(logits[i][j].item<double>(),
                  expected[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)].get<double>(),
                  1e-5);
    }
  }
  const at::Tensor labels = at::arange(images.size(0), at::kLong);
  const at::Tensor loss =
      at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, -100, 0.1);
  EXPECT_NEAR(loss.item<double>(), golden()["loss"].get<double>(), 1e-6);
  loss.backward();
  const auto names = parameters(spec());
  for (std::size_t i = 0; i < names.size(); ++i) {
    // The key part of the attention's bias has no influence: its gradient is rounding noise.
    const at::Tensor gradient = model.parameters()[i].grad();
    ASSERT_TRUE(gradient.defined()) << names[i].name;
    expect_summary(gradient, golden()["gradients"][names[i].name], names[i].name);
  }
}

}  // namespace
}  // namespace vitsim
