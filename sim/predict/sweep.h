#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/experiment/experiment.h"
#include "models/report/report.h"

namespace vitsim {

/// One key of a cluster file and the values to try.
struct VariedKey {
  std::string key;
  std::vector<std::string> values;
};

/// `key=v1,v2,...`; commas inside brackets and quotes do not separate. Throws UserError.
VariedKey parse_varied_key(const std::string& text);

/// One configuration of a sweep: a value for each varied key, then what is predicted, or why not.
struct SweepRow {
  std::int64_t index = 0;  // in the whole sweep, the last key varying fastest
  std::vector<std::string> values;
  std::optional<Report> report;
  std::string problem;
};

/// Every combination of the varied keys, or those of shard `shard` of `shards` (0-based).
std::vector<SweepRow> sweep_rows(const std::vector<VariedKey>& keys,
                                 std::int64_t shard,
                                 std::int64_t shards);

/// The overrides of one row.
std::vector<Override> overrides_of(const std::vector<VariedKey>& keys, const SweepRow& row);

}  // namespace vitsim
