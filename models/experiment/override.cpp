#include "models/experiment/override.h"

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

std::vector<Override> parse_overrides(const std::vector<std::string>& settings) {
  std::vector<Override> overrides;
  std::vector<std::string> problems;
  for (const std::string& setting : settings) {
    const auto equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      problems.push_back(fmt::format(
          "--set {}: write KEY=VALUE, e.g. --set training.micro_batch_per_gpu=32", setting));
    } else {
      overrides.push_back({setting.substr(0, equals), setting.substr(equals + 1)});
    }
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  return overrides;
}

}  // namespace vitsim
