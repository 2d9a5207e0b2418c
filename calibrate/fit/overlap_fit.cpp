#include "calibrate/fit/overlap_fit.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/distribution.h"

namespace vitsim {

void fit_overlap(const Measurement& measurement, Calibration& calibration) {
  using Where = std::pair<std::string, std::pair<double, double>>;  // GPU, rank, ranks in all
  std::map<Where, std::vector<double>> alone;
  std::map<Where, std::vector<double>> beside;
  for (const Sample& sample : measurement.samples) {
    const auto gpu = sample.text.find("gpu");
    const auto state = sample.text.find("state");
    const auto rank = sample.number.find("rank");
    if (sample.what != "overlap" || gpu == sample.text.end() || state == sample.text.end() ||
        rank == sample.number.end() || sample.seconds.empty()) {
      continue;
    }
    const auto ranks = sample.number.find("ranks");
    const Where where = {
        gpu->second, {rank->second, ranks == sample.number.end() ? 0 : ranks->second}
    };
    auto& series = state->second == "alone" ? alone[where] : beside[where];
    series.insert(series.end(), sample.seconds.begin(), sample.seconds.end());
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
