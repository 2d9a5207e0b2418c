#include "trainer/communication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(RequireSameKind, NamesTheRankWhoseHostHasNoGpu) {
  EXPECT_NO_THROW(require_same_kind({"the CPU", "the CPU"}, {"ant", "bee"}));
  EXPECT_NO_THROW(require_same_kind({"a GPU"}, {"ant"}));
  try {
    require_same_kind({"a GPU", "a GPU", "the CPU", "the CPU"}, {"ant", "ant", "bee", "bee"});
    FAIL() << "was accepted";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("rank 2 (bee) found the CPU"), HasSubstr("rank 0 (ant) a GPU")));
  }
}

}  // namespace
}  // namespace vitsim
