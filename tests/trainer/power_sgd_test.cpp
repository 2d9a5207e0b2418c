#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "trainer/measure/solo_group.h"
#include "trainer/step/communication_hook.h"

namespace vitsim {
namespace {

constexpr std::int64_t kRows = 12;
constexpr std::int64_t kColumns = 10;

// One rank with a matrix and a vector, whose gradients are one bucket.
struct Example {
  std::unique_ptr<Device> device = make_cpu_device();
  std::vector<at::Tensor> parameters = {at::zeros({kRows, kColumns}), at::zeros({kColumns})};
  std::unique_ptr<CommunicationHook> hook =
      make_power_sgd_hook({.kind = HookKind::kPowerSgd, .rank = 1, .start_step = 2},
                          {.group = make_solo_group(c10::DeviceType::CPU),
                           .device = device.get(),
                           .parameters = &parameters,
                           .backward_done = [] {},
                           .wait = [](c10d::Work& work) { work.wait(); }});

  // The bucket's buffer after the hook.
  at::Tensor run(const at::Tensor& matrix, const at::Tensor& vector) const {
    const at::Tensor buffer = at::cat({matrix.reshape(-1), vector});
    c10d::GradBucket bucket(0,
                            1,
                            buffer,
                            {0, kRows * kColumns},
                            {kRows * kColumns, kColumns},
                            {parameters[0].sizes(), parameters[1].sizes()},
                            parameters,
                            std::nullopt);
    hook->runHook(bucket)->wait();
    return buffer;
  }

  [[nodiscard]] at::Tensor error() const {
    for (const NamedTensor& state : hook->own_state()) {
      if (state.name == "powersgd_error/0") {
        return state.tensor;
      }
    }
    return {};
  }
};

at::Tensor figures(at::IntArrayRef sizes, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::empty(sizes).normal_(0, 1, generator);
}

TEST(PowerSgd, SendsARankOneGradientWhole) {
  // G = u v^T: P = u (v . q) is u's direction, and P (G^T P)^T = G whatever q was.
  Example example;
  example.hook->begin_step(2);
  const at::Tensor matrix = figures({kRows, 1}, 1).matmul(figures({1, kColumns}, 2));
  const at::Tensor vector = figures({kColumns}, 3);
  const at::Tensor sent = example.run(matrix, vector);
  EXPECT_TRUE(
      sent.narrow(0, 0, kRows * kColumns).view({kRows, kColumns}).allclose(matrix, 1e-4, 1e-5));
  EXPECT_TRUE(sent.narrow(0, kRows * kColumns, kColumns).equal(vector));
  EXPECT_LT(example.error().abs().max().item<float>(), 1e-5);
}

TEST(PowerSgd, WhatItLeavesOutComesLater) {
  // Of one rank: what was sent in all steps and what is still held back add up to all gradients.
  Example example;
  at::Tensor sent = at::zeros({kRows, kColumns});
  at::Tensor all = at::zeros({kRows, kColumns});
  for (std::int64_t step = 2; step < 8; ++step) {
    example.hook->begin_step(step);
    const at::Tensor matrix = figures({kRows, kColumns}, static_cast<std::uint64_t>(step));
    all += matrix;
    sent += example.run(matrix, at::zeros({kColumns}))
                .narrow(0, 0, kRows * kColumns)
                .view({kRows, kColumns});
    EXPECT_GT(example.error().norm().item<float>(), 0.1);
    EXPECT_TRUE((sent + example.error()).allclose(all, 1e-4, 1e-4)) << step;
  }
}

TEST(PowerSgd, CompressesOnlyWhatGetsHalfAsLarge) {
  // 12 + 10 rows and columns, twice, are fewer than 120 elements: rank 1 is worth it, and rank 3,
  // 132, is not.
  Example example;
  EXPECT_EQ(example.hook->own_state().size(), 2U);
  const auto coarse = make_power_sgd_hook({.kind = HookKind::kPowerSgd, .rank = 3},
                                          {.group = make_solo_group(c10::DeviceType::CPU),
                                           .device = example.device.get(),
                                           .parameters = &example.parameters,
                                           .backward_done = [] {},
                                           .wait = [](c10d::Work&) {}});
  EXPECT_TRUE(coarse->own_state().empty());
}

}  // namespace
}  // namespace vitsim
