#include "models/document/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "models/error.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::file_text;
using test::TemporaryFolder;

std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder),
                                                std::filesystem::directory_iterator()));
}

TEST(AtomicFile, TheOldContentStaysUntilCommit) {
  const TemporaryFolder folder;
  const auto target = folder.write("report.json", "old");
  {
    AtomicFile file(target);
    file.write(std::string(200'000, 'x'));  // more than one buffer
    EXPECT_EQ(file_text(target), "old");
    file.commit();
  }
  EXPECT_EQ(file_text(target), std::string(200'000, 'x'));
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, WithoutCommitNothingIsLeft) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder.path() / "report.json");
    file.write("half");
  }
  EXPECT_EQ(entries(folder.path()), 0U);
}

TEST(AtomicFile, FailuresNameTheFileAndTheCause) {
  const TemporaryFolder folder;
  try {
    write_file_atomically(folder.path() / "absent" / "report.json", "x");
    FAIL();
  } catch (const DeviceError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("absent/report.json: cannot be created: No such file or directory"),
              std::string::npos)
        << message;
  }
  EXPECT_THROW(write_file_atomically(folder.path(), "x"), DeviceError);  // a folder
  EXPECT_EQ(entries(folder.path()), 0U);
}

TEST(AtomicFile, AFullDiskIsADeviceError) {
  if (!std::filesystem::exists("/dev/full")) {
    GTEST_SKIP() << "this system has no /dev/full";
  }
  EXPECT_THROW(write_file_atomically("/dev/full", "x"), DeviceError);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

TEST(AtomicFile, DevicesAreWrittenNotReplaced) {
  write_file_atomically("/dev/null", "x");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(AtomicFile, ALinkKeepsPointingToTheFile) {
  const TemporaryFolder folder;
  const auto real = folder.write("real.json", "old");
  const auto link = folder.path() / "link.json";
  std::filesystem::create_symlink(real, link);
  write_file_atomically(link, "new");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(file_text(real), "new");
}

}  // namespace
}  // namespace vitsim
