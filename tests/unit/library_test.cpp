#include "calibrate/profile/library.h"

#include <cstdlib>
#include <set>

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

// Every GPU that a lab may have; kinds with more than one size of memory have a sheet for each.
TEST(Library, DataSheetsAreShippedUnderTheirNames) {
  const ProfileLibrary library;
  const std::vector<std::string> wanted = {"p100",
                                           "v100",
                                           "v100-16gb",
                                           "v100-32gb",
                                           "tesla-t4",
                                           "tesla-p4",
                                           "a10",
                                           "a10g",
                                           "a16",
                                           "a30",
                                           "a40",
                                           "a100",
                                           "a100-40gb",
                                           "a100-80gb",
                                           "a100-pcie-40gb",
                                           "a100-pcie-80gb",
                                           "a800",
                                           "l4",
                                           "l40",
                                           "l40s",
                                           "h20",
                                           "h100",
                                           "h100-pcie",
                                           "h100-nvl",
                                           "h200",
                                           "gh200",
                                           "b200",
                                           "b300",
                                           "gb200",
                                           "gb10",
                                           "mi100",
                                           "mi210",
                                           "mi250x",
                                           "mi300x",
                                           "mi325x",
                                           "rtx-2060",
                                           "rtx-2070",
                                           "rtx-2080",
                                           "rtx-2080-ti",
                                           "titan-rtx",
                                           "gtx-1070",
                                           "gtx-1080",
                                           "gtx-1080-ti",
                                           "rtx-3060",
                                           "rtx-3070",
                                           "rtx-3080",
                                           "rtx-3090",
                                           "rtx-4060-ti",
                                           "rtx-4070",
                                           "rtx-4080",
                                           "rtx-4090",
                                           "rtx-5070",
                                           "rtx-5080",
                                           "rtx-5090",
                                           "rtx-a2000",
                                           "rtx-a4000",
                                           "rtx-a4500",
                                           "rtx-a5000",
                                           "rtx-a6000",
                                           "rtx-4000-ada",
                                           "rtx-5000-ada",
                                           "rtx-6000-ada",
                                           "rtx-pro-6000",
                                           "rtx-pro-6000-max-q"};
  EXPECT_THAT(library.gpu_names(), IsSupersetOf(wanted));
  // RTX 3070: 5888 cores, 2 operations a clock, 1.725 GHz.
  EXPECT_NEAR(library.sheet("rtx-3070")->fp32.value(), 5888 * 2 * 1.725e9, 1e10);
}

TEST(Library, DataSheetsHoldWhatTheHardwareHas) {
  const ProfileLibrary library;
  for (const std::string& name : library.gpu_names()) {
    const auto sheet = library.sheet(name);
    if (!sheet) {
      continue;
    }
    EXPECT_FALSE(sheet->source.empty()) << name;
    EXPECT_TRUE(sheet->tdp_w.has_value()) << name;
    EXPECT_TRUE(sheet->pcie || name == "gb10") << name;
    // Matrix units, where there are any, beat plain fp32; the first with bf16 were Ampere's.
    if (sheet->fp16) {
      EXPECT_GT(sheet->fp16->value(), 1.9 * sheet->fp32.value()) << name;
    }
    const bool is_older = sheet->architecture == "pascal" || sheet->architecture == "volta" ||
                          sheet->architecture == "turing";
    const bool is_amd = sheet->architecture.starts_with("cdna");
    EXPECT_EQ(sheet->bf16.has_value(), !is_older) << name;
    EXPECT_TRUE(sheet->tf32.has_value() == !is_older || is_amd) << name;
    if (sheet->bf16 && name != "mi100") {
      EXPECT_EQ(*sheet->bf16, *sheet->fp16) << name;
    }
    EXPECT_TRUE(sheet->intra_node.empty() || library.link_sheet(sheet->intra_node))
        << name << " names " << sheet->intra_node;
  }
  // GP104 computes fp16 at a 64th of its fp32 rate: no figure, rather than one that misleads.
  EXPECT_FALSE(library.sheet("gtx-1080")->fp16.has_value());
  EXPECT_FALSE(library.sheet("tesla-p4")->fp16.has_value());
}

// What the driver calls a device leads to one sheet: a second name of the same has none.
TEST(Library, DevicesAreNotShared) {
  const ProfileLibrary library;
  std::set<std::string> devices;
  for (const std::string& name : library.gpu_names()) {
    const auto sheet = library.sheet(name);
    if (sheet && !sheet->device_name.empty()) {
      EXPECT_TRUE(devices.insert(sheet->device_name).second) << name;
    }
  }
}

// What the driver reports, in MiB: error correction and the driver take their share.
TEST(Library, MemoryIsAsTheDriverReportsIt) {
  const ProfileLibrary library;
  for (const auto& [name, mebibytes] :
       std::vector<std::pair<std::string, double>>{{"tesla-t4", 15'360},
                                                   {"a40", 46'068},
                                                   {"h100", 81'559},
                                                   {"a100-40gb", 40'960},
                                                   {"a100-80gb", 81'920},
                                                   {"rtx-a4500", 20'470}}) {
    EXPECT_EQ(library.sheet(name)->memory.value(), mebibytes * 1024 * 1024) << name;
  }
}

TEST(Library, LinkSheetsAreShippedUnderTheirNames) {
  const ProfileLibrary library;
  const std::vector<std::string> wanted = {
      "pcie3-x8",        "pcie3-x16",      "pcie4-x8",      "pcie4-x16",      "pcie5-x16",
      "pcie3-x8-host",   "pcie3-x16-host", "pcie4-x8-host", "pcie4-x16-host", "pcie5-x16-host",
      "nvlink2",         "nvlink3",        "nvlink4",       "nvlink5",        "nvlink-bridge",
      "infinity-fabric", "ib-edr",         "ib-hdr",        "ib-ndr",         "ib-xdr",
      "roce-100",        "roce-200",       "roce-400",      "efa-400",        "1gbe",
      "2.5gbe",          "10gbe",          "25gbe",         "40gbe",          "100gbe"};
  EXPECT_THAT(library.link_sheet_names(), IsSupersetOf(wanted));
  for (const std::string& name : wanted) {
    const auto sheet = library.link_sheet(name);
    ASSERT_TRUE(sheet.has_value()) << name;
    EXPECT_FALSE(sheet->source.empty()) << name;
    EXPECT_GT(sheet->spread, 0) << name;
    EXPECT_EQ(sheet->through_host, name.ends_with("-host")) << name;
    EXPECT_EQ(sheet->switch_reduces, name == "nvlink4" || name == "nvlink5") << name;
  }
  // Nothing delivers more than its line rate.
  EXPECT_LT(library.link_sheet("ib-ndr")->bandwidth.value(), 50e9);
  EXPECT_LT(library.link_sheet("nvlink4")->bandwidth.value(), 450e9);
}

}  // namespace
}  // namespace vitsim
