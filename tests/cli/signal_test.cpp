// Signals to `vitsim train`, while a launcher script that knows no ranks keeps it waiting.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::Not;

// Ends like mpirun: with 1 when a signal tells it to. Waits for 20 s at most.
constexpr const char* kLauncher = R"(
cd "$1"
trap 'echo > told; exit 1' TERM
echo > launched
for i in $(seq 400); do sleep 0.05; done
exit 1
)";

// Starts `vitsim train` in the background and sends it $2 once the launcher runs; ends with its
// exit code, and not before the launcher was told or 10 s have passed.
constexpr const char* kSignal = R"(
folder=$0 vitsim=$1 signal=$2
"$vitsim" train "$3" --launcher "sh $folder/launch.sh $folder" &
for i in $(seq 200); do [ -e "$folder/launched" ] && break; sleep 0.05; done
kill -$signal $!
wait $!
code=$?
for i in $(seq 200); do [ -e "$folder/told" ] && break; sleep 0.05; done
exit $code
)";

class Signal : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("launch.sh", kLauncher);
    setenv("VITSIM_TRAINER", "/bin/true", 1);
  }

  void TearDown() override { unsetenv("VITSIM_TRAINER"); }

  [[nodiscard]] ProgramRun train_and_send(const std::string& signal) const {
    return run_program({"bash",
                        "-c",
                        kSignal,
                        folder_.path().string(),
                        VITSIM_BINARY_DIR "/vitsim",
                        signal,
                        VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json"});
  }

  [[nodiscard]] bool launcher_was_told() const { return fs::exists(folder_.path() / "told"); }

  TemporaryFolder folder_;
};

TEST_F(Signal, ThatEndsATrainingIsNoFailureOfItsStart) {
  const ProgramRun run = train_and_send("TERM");
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_TRUE(launcher_was_told());
  EXPECT_THAT(run.errors, Not(HasSubstr("could not start the ranks")));
}

TEST_F(Signal, ThatKillsLeavesNoTrainingBehind) {
  EXPECT_EQ(train_and_send("KILL").exit_code, 128 + 9);
  EXPECT_TRUE(launcher_was_told());
}

}  // namespace
}  // namespace vitsim::test
