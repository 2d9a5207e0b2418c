#include "models/vit/vit.h"

#include <set>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

VitSpec variant(const char* name, std::int64_t classes = 1000) {
  VitSpec vit = vit_variant(name).value();
  vit.classes = classes;
  return vit;
}

// Published by torchvision (num_params) and timm; the others follow from the same formula.
TEST(Vit, ParameterCountsAreThePublishedOnes) {
  EXPECT_EQ(parameter_count(variant("vit-b-16")), 86'567'656);
  EXPECT_EQ(parameter_count(variant("vit-b-32")), 88'224'232);
  EXPECT_EQ(parameter_count(variant("vit-l-16")), 304'326'632);
  EXPECT_EQ(parameter_count(variant("vit-h-14")), 632'045'800);
  EXPECT_EQ(parameter_count(variant("vit-ti-16")), 5'717'416);
  EXPECT_EQ(parameter_count(variant("vit-s-16")), 22'050'664);
  EXPECT_EQ(parameter_count(variant("vit-b-16", 10)), 85'806'346);
  EXPECT_EQ(parameter_count(variant("vit-b-16", 100)), 85'875'556);
  EXPECT_EQ(parameter_count(variant("vit-ti-16", 10)), 5'526'346);
  EXPECT_EQ(parameter_count(variant("vit-ti-16", 100)), 5'543'716);
  EXPECT_EQ(parameter_count(variant("vit-s-16", 10)), 21'669'514);
  EXPECT_EQ(parameter_count(variant("vit-s-16", 100)), 21'704'164);
}

TEST(Vit, OtherResolutionsAndPatches) {
  VitSpec large = variant("vit-h-14");
  large.image_size = 518;
  EXPECT_EQ(parameter_count(large), 633'470'440);
  // CIFAR at its own size: 32 / 4 = 8, 8 x 8 patches and the class token are 65 tokens.
  for (const auto& [name, count] : {std::pair("vit-ti-16", 5'362'762L),
                                    std::pair("vit-s-16", 21'342'346L),
                                    std::pair("vit-b-16", 85'152'010L)}) {
    VitSpec small = variant(name, 10);
    small.image_size = 32;
    small.patch = 4;
    EXPECT_EQ(small.tokens(), 65);
    EXPECT_EQ(parameter_count(small), count) << name;
  }
}

// The formula in closed form, written another way than the list of tensors:
// D + S D + (3 p^2 D + D) + L (12 D^2-like terms) + 2 D + D C + C.
TEST(Vit, TheTensorsAddUpToTheFormula) {
  for (VitSpec vit : vit_variants()) {
    for (const std::int64_t classes : {1, 10, 1000}) {
      vit.classes = classes;
      const std::int64_t d = vit.width;
      const std::int64_t m = vit.mlp;
      const std::int64_t layer = 4 * d + (3 * d * d + 3 * d) + (d * d + d) + (2 * d * m + m + d);
      const std::int64_t expected = d + vit.tokens() * d + (3 * vit.patch * vit.patch * d + d) +
                                    vit.layers * layer + 2 * d + d * classes + classes;
      EXPECT_EQ(parameter_count(vit), expected) << vit.name;
    }
  }
}

TEST(Vit, TensorsHaveTorchvisionsNames) {
  const auto tensors = parameters(variant("vit-b-16"));
  // 4 before the layers, 12 in each of 12 layers, 4 after.
  ASSERT_EQ(tensors.size(), 152U);
  EXPECT_EQ(tensors[0].name, "class_token");
  EXPECT_EQ(tensors[3].name, "encoder.pos_embedding");
  EXPECT_EQ(tensors[3].shape, (std::vector<std::int64_t>{1, 197, 768}));
  EXPECT_EQ(tensors[6].name, "encoder.layers.encoder_layer_0.self_attention.in_proj_weight");
  EXPECT_EQ(tensors[6].shape, (std::vector<std::int64_t>{2304, 768}));
  EXPECT_EQ(tensors.back().name, "heads.head.bias");
  std::set<std::string> names;
  for (const ParameterTensor& tensor : tensors) {
    names.insert(tensor.name);
  }
  EXPECT_EQ(names.size(), tensors.size());
}

TEST(Vit, UnknownNamesGiveNothing) {
  EXPECT_FALSE(vit_variant("vit-b16").has_value());
  EXPECT_FALSE(vit_variant("").has_value());
}

}  // namespace
}  // namespace vitsim
