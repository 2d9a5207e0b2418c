#include "models/vit/buckets.h"

#include <numeric>
#include <set>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

constexpr Bytes kFp32{4};

std::vector<std::int64_t> sizes(const VitSpec& vit, Bytes element = kFp32) {
  std::vector<std::int64_t> result;
  for (const GradientBucket& bucket : gradient_buckets(vit, element)) {
    result.push_back(bucket.bytes);
  }
  return result;
}

VitSpec cifar(const char* name) {
  VitSpec vit = vit_variant(name).value();
  vit.image_size = 32;
  vit.patch = 4;
  vit.classes = 10;
  return vit;
}

TEST(Buckets, VitBaseHasFourteen) {
  // First: the head, 1000 x 768 weights and 1000 biases in fp32 = 3,076,000 B, above the cap of
  // 1 MiB at its second tensor. Then one layer each: 7,087,872 parameters = 28,351,488 B. At last
  // the patches (590,592), positions (151,296), class token and first norm (768 + 1,536).
  std::vector<std::int64_t> expected(14, 28'351'488);
  expected.front() = 3'076'000;
  expected.back() = 2'976'768;
  EXPECT_EQ(sizes(*vit_variant("vit-b-16")), expected);
}

TEST(Buckets, OtherModels) {
  VitSpec ten = *vit_variant("vit-b-16");
  ten.classes = 10;
  EXPECT_EQ(sizes(ten).size(), 13U);
  EXPECT_NEAR(static_cast<double>(sizes(ten)[0]), 9.48e6, 5e3);
  const auto large = sizes(*vit_variant("vit-l-16"));
  EXPECT_EQ(large.size(), 38U);
  EXPECT_NEAR(static_cast<double>(large[0]), 4.1e6, 5e4);
  // The last norm's 2 x 4,096 B, fc2's bias 4,096 B and weight 16,777,216 B, fc1's bias 16,384 B
  // and weight 16,777,216 B: the cap of 25 MiB is passed only by the last.
  EXPECT_EQ(large[1], 33'583'104);
  const auto tiny = sizes(cifar("vit-ti-16"));
  ASSERT_EQ(tiny.size(), 2U);
  EXPECT_NEAR(static_cast<double>(tiny[0]), 1.19e6, 5e3);
  EXPECT_NEAR(static_cast<double>(tiny[1]), 20.26e6, 5e3);
  EXPECT_EQ(sizes(cifar("vit-s-16")).size(), 4U);
}

TEST(Buckets, EveryTensorIsInOneBucketInReadyOrder) {
  for (const VitSpec& vit : vit_variants()) {
    std::vector<std::size_t> order;
    std::int64_t bytes = 0;
    for (const GradientBucket& bucket : gradient_buckets(vit, Bytes(2))) {
      order.insert(order.end(), bucket.tensors.begin(), bucket.tensors.end());
      bytes += bucket.bytes;
    }
    std::vector<std::size_t> expected(parameters(vit).size());
    std::iota(expected.rbegin(), expected.rend(), std::size_t{0});
    EXPECT_EQ(order, expected) << vit.name;
    EXPECT_EQ(bytes, 2 * parameter_count(vit)) << vit.name;
  }
}

TEST(Buckets, ABucketIsClosedAsSoonAsItReachesItsCap) {
  const VitSpec vit = *vit_variant("vit-l-16");
  const auto tensors = parameters(vit);
  const auto buckets = gradient_buckets(vit, kFp32);
  for (std::size_t i = 0; i + 1 < buckets.size(); ++i) {
    const std::int64_t cap = i == 0 ? kFirstBucketCap : kBucketCap;
    EXPECT_GE(buckets[i].bytes, cap);
    EXPECT_LT(buckets[i].bytes - 4 * tensors[buckets[i].tensors.back()].elements(), cap);
  }
}

}  // namespace
}  // namespace vitsim
