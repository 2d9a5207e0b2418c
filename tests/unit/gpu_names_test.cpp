#include "calibrate/profile/gpu_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::vector<std::string> kKnown = {"a100",
                                         "a100-40gb",
                                         "a40",
                                         "h100",
                                         "l40",
                                         "l40s",
                                         "rtx-2080-ti",
                                         "rtx-3060",
                                         "rtx-3070",
                                         "rtx-3090",
                                         "rtx-4070",
                                         "rtx-a4000",
                                         "tesla-p4",
                                         "tesla-t4"};

std::string hint(std::string_view word) {
  return unknown_gpu_hint(word, kKnown);
}

TEST(GpuNames, ASlipOfTheKeyboardIsMended) {
  EXPECT_EQ(hint("rtx-307O"), " (did you mean \"rtx-3070\"?)");
  EXPECT_EQ(hint("RTX 3070"), " (did you mean \"rtx-3070\"?)");
  EXPECT_EQ(hint("rxt-3090"), " (did you mean \"rtx-3090\"?)");
  EXPECT_EQ(hint("3070"), " (did you mean \"rtx-3070\"?)");
  EXPECT_EQ(hint("geforce-rtx-3070"), " (did you mean \"rtx-3070\"?)");
  EXPECT_EQ(hint("a100-40"), " (did you mean \"a100-40gb\"?)");
  EXPECT_EQ(hint("rtx-2080ti"), " (did you mean \"rtx-2080-ti\"?)");
  EXPECT_EQ(hint("t4"), " (did you mean \"tesla-t4\"?)");
  EXPECT_EQ(hint("nvidia-h100"), " (did you mean \"h100\"?)");
}

TEST(GpuNames, OtherHardwareIsNeverOffered) {
  for (const char* word : {"rtx-3080",
                           "rtx-3070-ti",
                           "rtx-4070-super",
                           "rtx-2080",
                           "a200",
                           "h200",
                           "l4",
                           "a30",
                           "h40"}) {
    EXPECT_THAT(hint(word), Not(HasSubstr("did you mean"))) << word;
    EXPECT_THAT(hint(word), HasSubstr("write a data sheet")) << word;
  }
}

TEST(GpuNames, TheFamilyIsListed) {
  EXPECT_THAT(
      hint("rtx-3080"),
      StartsWith("; known of its family: rtx-3060, rtx-3070, rtx-3090; for other hardware"));
  EXPECT_THAT(hint("a200"), StartsWith("; known of its family: a100, a100-40gb, a40; "));
  EXPECT_THAT(hint("rtx-1660"), HasSubstr("rtx-2080-ti, rtx-3060"));
}

}  // namespace
}  // namespace vitsim
