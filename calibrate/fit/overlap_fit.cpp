#include "calibrate/fit/overlap_fit.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/distribution.h"

namespace vitsim {

void fit_overlap(const Measurement& measurement, Calibration& calibration) {
  using Where =
      std::pair<std::string, std::pair<std::int64_t, std::int64_t>>;  // GPU, rank, ranks in all
  std::map<Where, std::vector<double>> alone;
  std::map<Where, std::vector<double>> beside;
  for (const Sample& sample : measurement.samples) {
    const auto* overlap = sample.as<OverlapSeries>();
    if (overlap == nullptr || overlap->seconds.empty()) {
      continue;
    }
    const Where where = {overlap->gpu, {overlap->rank, overlap->ranks.value_or(0)}};
    auto& series = overlap->state == OverlapSeries::State::kAlone ? alone[where] : beside[where];
    series.insert(series.end(), overlap->seconds.begin(), overlap->seconds.end());
  }
  std::map<std::string, std::vector<double>> slowdowns;
  for (const auto& [where, seconds] : alone) {
    if (const auto other = beside.find(where); other != beside.end()) {
      slowdowns[where.first].push_back(median(other->second) / median(seconds));
    }
  }
  for (const auto& [gpu, factors] : slowdowns) {
    if (const auto profile = calibration.gpus.find(gpu); profile != calibration.gpus.end()) {
      profile->second.overlap_slowdown = std::max(1.0, median(factors));
    }
  }
}

}  // namespace vitsim
