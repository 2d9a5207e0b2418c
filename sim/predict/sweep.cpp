#include "sim/predict/sweep.h"

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

VariedKey parse_varied_key(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw UserError(
        fmt::format("--vary {}: write KEY=V1,V2,..., e.g. --vary training.epochs=5,10", text));
  }
  VariedKey varied{.key = text.substr(0, equals), .values = {""}};
  int depth = 0;
  bool quoted = false;
  for (const char c : text.substr(equals + 1)) {
    quoted ^= c == '"';
    depth += !quoted && (c == '[' || c == '{') ? 1 : 0;
    depth -= !quoted && (c == ']' || c == '}') ? 1 : 0;
    if (c == ',' && depth == 0 && !quoted) {
      varied.values.emplace_back();
    } else {
      varied.values.back() += c;
    }
  }
  for (const std::string& value : varied.values) {
    if (value.empty()) {
      throw UserError(fmt::format("--vary {}: a value is empty", text));
    }
  }
  return varied;
}

std::vector<SweepRow> sweep_rows(const std::vector<VariedKey>& keys,
                                 std::int64_t shard,
                                 std::int64_t shards) {
  constexpr std::int64_t kMostRows = 1'000'000;
  std::int64_t count = 1;
  for (const VariedKey& key : keys) {
    count *= static_cast<std::int64_t>(key.values.size());
    if (count > kMostRows) {
      throw UserError(fmt::format("a sweep of more than {} configurations", kMostRows));
    }
  }
  std::vector<SweepRow> rows;
  for (std::int64_t index = shard; index < count; index += shards) {
    SweepRow row{.index = index};
    std::int64_t rest = index;
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
      const auto choices = static_cast<std::int64_t>(key->values.size());
      row.values.insert(row.values.begin(), key->values[static_cast<std::size_t>(rest % choices)]);
      rest /= choices;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Override> overrides_of(const std::vector<VariedKey>& keys, const SweepRow& row) {
  std::vector<Override> overrides;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    overrides.push_back({keys[i].key, row.values[i]});
  }
  return overrides;
}

}  // namespace vitsim
