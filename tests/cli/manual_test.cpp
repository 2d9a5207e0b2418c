#include <filesystem>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/json_schema_support.h"
#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;

TEST(Manual, HoldsTheOptionsOfTheHelp) {
  const ProgramRun run = run_vitsim({"manual", "predict"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, StartsWith(".TH VITSIM\\-PREDICT 1"));
  EXPECT_THAT(run.output, HasSubstr("\\-\\-replicates"));
  EXPECT_THAT(run.output, HasSubstr(".SH EXAMPLES"));
  EXPECT_EQ(run_vitsim({"manual", "pretict"}).exit_code, 2);
}

TEST(Manual, HasAPageForEveryCommand) {
  const TemporaryFolder folder;
  ASSERT_EQ(run_vitsim({"manual", "--out", folder.path().string()}).exit_code, 0);
  std::set<std::string> pages;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    pages.insert(entry.path().filename().string());
  }
  EXPECT_THAT(pages,
              IsSupersetOf({"vitsim.1",
                            "vitsim-predict.1",
                            "vitsim-init.1",
                            "vitsim-report.1",
                            "vitsim-calibrate.1",
                            "vitsim-calibrate-fit.1"}));
}

// man's formatter warns about what it does not understand.
TEST(Manual, IsSoundRoff) {
  if (run_program({"sh", "-c", "command -v groff"}).exit_code != 0) {
    GTEST_SKIP() << "there is no groff here";
  }
  const TemporaryFolder folder;
  ASSERT_EQ(run_vitsim({"manual", "--out", folder.path().string()}).exit_code, 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const ProgramRun run =
        run_program({"groff", "-man", "-Tascii", "-ww", "-z", entry.path().string()});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_THAT(run.errors, IsEmpty()) << entry.path();
  }
}

}  // namespace
}  // namespace vitsim::test
