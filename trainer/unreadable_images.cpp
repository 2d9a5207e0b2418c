#include "trainer/unreadable_images.h"

#include <fmt/format.h>

namespace vitsim {

namespace {

constexpr std::size_t kMostNamed = 20;

}  // namespace

std::vector<std::string> UnreadableImages::gather(Communication& communication,
                                                  const std::vector<const Dataset*>& datasets) {
  std::string own;
  for (const Dataset* dataset : datasets) {
    for (const std::string& problem : dataset->unreadable()) {
      if (!known_.contains(problem)) {
        own += problem + '\0';
      }
    }
  }
  std::set<std::string> found;
  for (const std::string& text : communication.gather_text(own)) {
    for (std::size_t begin = 0; begin < text.size(); begin = text.find('\0', begin) + 1) {
      found.emplace(text.c_str() + begin);
    }
  }
  known_.insert(found.begin(), found.end());
  return {found.begin(), found.end()};
}

std::vector<std::string> UnreadableImages::summary() const {
  if (known_.empty()) {
    return {};
  }
  std::vector<std::string> lines = {
      fmt::format("{} image{} could not be read and {} replaced by the next one that could",
                  known_.size(),
                  known_.size() == 1 ? "" : "s",
                  known_.size() == 1 ? "was" : "were")};
  for (const std::string& problem : known_) {
    if (lines.size() > kMostNamed) {
      lines.push_back(fmt::format("and {} more", known_.size() - kMostNamed));
      break;
    }
    lines.push_back(problem);
  }
  return lines;
}

}  // namespace vitsim
