#include "sim/cli/progress_meter.h"

#include <gtest/gtest.h>

namespace vitsim {
namespace {

// 6 of 24 parts took 3 s: the other 18 take three times as long.
TEST(ProgressMeter, SaysWhatIsLeft) {
  EXPECT_EQ(ProgressMeter::line("checking runs", 6, 24, 3), "checking runs: 6 of 24, 9.00 s left");
  EXPECT_EQ(ProgressMeter::line("checking runs", 0, 24, 3), "checking runs: 0 of 24");
  EXPECT_EQ(ProgressMeter::line("checking runs", 23, 24, 3),
            "checking runs: 23 of 24, less than 1 s left");
}

// Standard error of tests is no terminal: nothing is written, and any thread may tell.
TEST(ProgressMeter, IsQuietWithoutATerminal) {
  testing::internal::CaptureStderr();
  {
    ProgressMeter meter("working");
    meter.progress()(1, 2);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace vitsim
