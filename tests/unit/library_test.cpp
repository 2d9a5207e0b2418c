#include "calibrate/profile/library.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::TemporaryFolder;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Not;

GpuProfile card(double overlap) {
  return {.name = "card", .overlap_slowdown = overlap};
}

// Sets an environment variable for the time of a test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }

  ~Environment() { ::unsetenv(name_); }

  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

TEST(Library, TheFirstPlaceWins) {
  const TemporaryFolder first;
  const TemporaryFolder second;
  const TemporaryFolder third;
  write_profile(first.path() / "any-name.json", card(1.1));
  write_profile(second.path() / "card.json", card(1.2));
  write_profile(third.path() / "card.json", card(1.3));
  const Environment environment("VITSIM_PROFILES",
                                second.path().string() + "::" + third.path().string());
  EXPECT_EQ(ProfileLibrary({first.path() / "any-name.json"}).gpu("card")->overlap_slowdown, 1.1);
  EXPECT_EQ(ProfileLibrary().gpu("card")->overlap_slowdown, 1.2);
  EXPECT_EQ(ProfileLibrary({third.path()}).gpu("card")->overlap_slowdown, 1.3);
}

TEST(Library, NamesAreLookedUpByKind) {
  const TemporaryFolder folder;
  write_profile(folder.path() / "card.json", card(1));
  write_profile(folder.path() / "wire.json",
                LinkProfile{.name = "wire", .bandwidth = BytesPerSecond(1)});
  folder.write("broken.json", "{");
  const ProfileLibrary library({folder.path()});
  EXPECT_TRUE(library.gpu("card").has_value());
  EXPECT_FALSE(library.link("card").has_value());
  EXPECT_TRUE(library.link("wire").has_value());
  EXPECT_FALSE(library.gpu("no-such-card").has_value());
  EXPECT_FALSE(library.gpu("../cluster/tesla-1gpu").has_value());
  EXPECT_THAT(library.gpu_names(), Contains("card"));
  EXPECT_THAT(library.gpu_names(), Not(Contains("wire")));
  EXPECT_THAT(library.link_names(), Contains("wire"));
  // Whoever asks for the broken file hears of it.
  EXPECT_THROW((void)library.gpu("broken"), UserError);
}

TEST(Library, EveryDataSheetOfTheIssueIsShippedUnderItsName) {
  const ProfileLibrary library;
  const std::vector<std::string> wanted = {"gtx-1070",
                                           "rtx-2080-ti",
                                           "rtx-3070",
                                           "rtx-3090",
                                           "rtx-4090",
                                           "rtx-5090",
                                           "rtx-pro-6000-max-q",
                                           "rtx-a4500",
                                           "tesla-p4",
                                           "tesla-t4",
                                           "v100",
                                           "a40",
                                           "a100",
                                           "h100",
                                           "h200"};
  EXPECT_THAT(library.gpu_names(), IsSupersetOf(wanted));
  for (const std::string& name : wanted) {
    const auto sheet = library.sheet(name);
    ASSERT_TRUE(sheet.has_value()) << name;
    EXPECT_EQ(sheet->name, name);
    EXPECT_FALSE(sheet->source.empty()) << name;
    // Tensor cores, where there are any, beat plain fp32; a bf16 unit is as fast as the fp16 one.
    if (sheet->fp16) {
      EXPECT_GT(sheet->fp16->value(), 1.9 * sheet->fp32.value()) << name;
    }
    if (sheet->bf16) {
      EXPECT_EQ(*sheet->bf16, *sheet->fp16) << name;
    }
  }
  // RTX 3070: 5888 cores, 2 operations a clock, 1.725 GHz.
  EXPECT_NEAR(library.sheet("rtx-3070")->fp32.value(), 5888 * 2 * 1.725e9, 1e10);
}

}  // namespace
}  // namespace vitsim
