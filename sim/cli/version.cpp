#include "sim/cli/version.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "calibrate/profile/library.h"
#include "commit.h"

namespace vitsim {

namespace {

// FNV-1a, 32 bits, over names and contents in alphabetical order.
std::string data_version() {
  const auto configs = shipped_configs();
  if (!configs) {
    return "not found";
  }
  std::vector<std::filesystem::path> files;
  for (const char* folder : {"gpus", "links", "models", "profiles"}) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(*configs / folder, error)) {
      files.push_back(entry.path());
    }
  }
  std::ranges::sort(files, {}, [](const std::filesystem::path& file) {
    return std::pair(file.parent_path().filename(), file.filename());
  });
  std::uint32_t fingerprint = 0x811c9dc5;
  const auto add = [&](const std::string& text) {
    for (const char c : text) {
      fingerprint = (fingerprint ^ static_cast<unsigned char>(c)) * 0x01000193U;
    }
  };
  for (const auto& file : files) {
    add(file.filename().string());
    std::ifstream stream(file, std::ios::binary);
    add(std::string(std::istreambuf_iterator<char>(stream), {}));
  }
  return fmt::format("{:08x}", fingerprint);
}

}  // namespace

std::string version_text() {
  return fmt::format(
      "vitsim {} (commit {}, data {})", VITSIM_VERSION, VITSIM_COMMIT, data_version());
}

}  // namespace vitsim
