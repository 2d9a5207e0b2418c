#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

// A new way to train is a builder, a cost, a memory row and a test: nothing else may ask which way
// it is.
TEST(Layers, OnlyBuildersReadersAndRowsNameAGradientSync) {
  constexpr std::array<std::string_view, 7> kMay = {"models/experiment/",
                                                    "models/report/remarks.cpp",
                                                    "models/vit/memory.cpp",
                                                    "models/vit/gradient_copies.cpp",
                                                    "calibrate/import/",
                                                    "calibrate/measurement/",
                                                    "sim/step/builder.cpp"};
  const std::filesystem::path root = VITSIM_SOURCE_DIR;
  int seen = 0;
  for (const char* top : {"models", "calibrate", "sim"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file()) {
        continue;
      }
      std::ifstream file(entry.path());
      std::ostringstream text;
      text << file.rdbuf();
      if (text.str().find("GradientSync::k") == std::string::npos) {
        continue;
      }
      ++seen;
      const std::string path = entry.path().lexically_relative(root).generic_string();
      EXPECT_TRUE(std::ranges::any_of(kMay, [&](std::string_view prefix) {
        return path.starts_with(prefix);
      })) << path;
    }
  }
  EXPECT_GT(seen, 3);
}

}  // namespace
}  // namespace vitsim
