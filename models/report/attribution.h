#pragma once

#include <functional>
#include <vector>

#include "models/report/report.h"

namespace vitsim {

/// Seconds that an epoch would take less were the compute of each entry its factor of what it is.
using GainOf = std::function<double(const std::vector<double>& factors)>;

/// Ranks that are attributed together: a class of a prediction, or one rank of a real run.
struct AttributedRanks {
  RankSet ranks;
  std::string gpu;
  std::string node;  // of the first
  std::int64_t micro_batch = 0;
  double compute_s = 0;
  double late_share = 0;  // of all of them together
};

/// Compute of the median rank.
double median_compute_s(const std::vector<AttributedRanks>& entries);

/// What an epoch would gain were the entry as fast as the median rank; 0 for those that are.
double entry_gain_s(const std::vector<AttributedRanks>& entries,
                    std::size_t entry,
                    const GainOf& gain);

/// What the step is limited by, from the report's step, epoch, phases and waits. `gain` may be
/// empty: then nobody is named for being slow.
Verdict attribute(const Report& report,
                  const std::vector<AttributedRanks>& entries,
                  const GainOf& gain);

}  // namespace vitsim
