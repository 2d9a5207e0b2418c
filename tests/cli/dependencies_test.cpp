#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The CLI starts in milliseconds and runs on any laptop: everything heavy is the trainer's.
TEST(Dependencies, TheCliLoadsNoTorchCudaNcclOrMpi) {
  const ProgramRun run = run_program({"ldd", VITSIM_BINARY_DIR "/vitsim"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  ASSERT_THAT(run.output, HasSubstr("libc.so"));
  for (const char* library :
       {"torch", "libc10", "cuda", "cudart", "nccl", "libmpi", "open-rte", "open-pal"}) {
    EXPECT_THAT(run.output, Not(HasSubstr(library)));
  }
}

}  // namespace
}  // namespace vitsim::test
