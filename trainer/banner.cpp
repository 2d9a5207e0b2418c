#include "trainer/banner.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vitsim {

namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string text_of(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void flatten(const std::string& key, const nlohmann::json& value, Rows& rows) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [name, member] : value.items()) {
      flatten(key.empty() ? name : fmt::format("{}.{}", key, name), member, rows);
    }
  } else if (value.is_array() && !value.empty() && value.front().is_structured()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      flatten(fmt::format("{}.{}", key, i), value[i], rows);
    }
  } else {
    rows.emplace_back(key, text_of(value));
  }
}

}  // namespace

std::string banner(const nlohmann::json& resolved, const Rows& facts) {
  Rows rows;
  flatten("", resolved, rows);
  rows.insert(rows.end(), facts.begin(), facts.end());
  std::size_t width = 0;
  for (const auto& [key, value] : rows) {
    width = std::max(width, key.size());
  }
  std::string text;
  for (const auto& [key, value] : rows) {
    text += fmt::format("{:<{}}  {}\n", key, width, value);
  }
  return text;
}

}  // namespace vitsim
