#include "models/vit/memory.h"

#include <gtest/gtest.h>

#include "models/vit/cost_graph.h"

namespace vitsim {
namespace {

constexpr double kParameters = 86'567'656;  // vit-b-16 with 1000 classes

TrainingSpec training(Precision precision, GradientSync sync) {
  TrainingSpec spec{.model = *vit_variant("vit-b-16"), .precision = precision};
  spec.gradient_sync = sync;
  return spec;
}

// fp32: 4 + 4 + 8 bytes per parameter; the flat copy hides behind the activations of 16 samples.
TEST(Memory, Fp32HoldsSixteenBytesPerParameter) {
  const auto parts = memory_parts(
      training(Precision::kFp32, GradientSync::kDeepspeedZero0), 4, 16, {.constant = Bytes(7)});
  EXPECT_DOUBLE_EQ(parts.weights, 4 * kParameters);
  EXPECT_DOUBLE_EQ(parts.gradients, 4 * kParameters);
  EXPECT_DOUBLE_EQ(parts.optimizer, 8 * kParameters);
  EXPECT_DOUBLE_EQ(parts.buffers, 0);
  EXPECT_DOUBLE_EQ(parts.constant, 7);
  EXPECT_DOUBLE_EQ(
      parts.activations,
      16 * activation_bytes_per_sample(*vit_variant("vit-b-16"), Precision::kFp32).value());
}

// fp16: 2 + 2, masters and moments 12; one sample's activations are less than the 8 transient
// bytes.
TEST(Memory, Fp16AddsMastersAndTransients) {
  const auto parts =
      memory_parts(training(Precision::kFp16, GradientSync::kDeepspeedZero0), 2, 1, {});
  EXPECT_DOUBLE_EQ(parts.weights + parts.gradients, 4 * kParameters);
  EXPECT_DOUBLE_EQ(parts.optimizer, 12 * kParameters);
  EXPECT_DOUBLE_EQ(parts.buffers, 8 * kParameters - parts.activations);
}

TEST(Memory, ZeroOneShardsTheOptimizer) {
  const auto parts =
      memory_parts(training(Precision::kFp32, GradientSync::kDeepspeedZero1), 4, 16, {});
  EXPECT_DOUBLE_EQ(parts.optimizer, 2 * kParameters);  // 8 / 4
}

TEST(Memory, DdpKeepsItsBuckets) {
  const auto parts = memory_parts(training(Precision::kFp32, GradientSync::kDdp), 2, 16, {});
  EXPECT_DOUBLE_EQ(parts.buffers, 4 * kParameters);
}

TEST(Memory, TheLargestMicroBatchFitsAndOneMoreDoesNot) {
  const TrainingSpec spec = training(Precision::kFp32, GradientSync::kDeepspeedZero0);
  const MemoryModel model{.constant = mebibytes(600), .activation_factor = 1.1};
  const Bytes capacity = mebibytes(8192);
  const auto largest = largest_micro_batch(spec, 4, model, capacity);
  ASSERT_TRUE(largest);
  EXPECT_LE(memory_parts(spec, 4, *largest, model).total(), capacity.value());
  EXPECT_GT(memory_parts(spec, 4, *largest + 1, model).total(), capacity.value());
  EXPECT_FALSE(largest_micro_batch(spec, 4, model, mebibytes(1024)));
}

}  // namespace
}  // namespace vitsim
