#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// This project's own small samples of files that can be imported.
inline std::filesystem::path import_sample(const std::string& name) {
  return std::filesystem::path(VITSIM_SOURCE_DIR) / "tests/golden/import" / name;
}

/// The released runs beside the checkout; empty where they are absent.
inline std::filesystem::path reference_runs() {
  const auto folder = std::filesystem::path(VITSIM_SOURCE_DIR) / "../shared/reference-runs";
  return std::filesystem::is_directory(folder) ? folder : std::filesystem::path();
}

/// The figures of `what` of a rank; none if there are none.
inline std::vector<double> figures(const std::vector<Sample>& samples,
                                   const std::string& what,
                                   std::optional<std::int64_t> rank = std::nullopt,
                                   const std::string& run = "") {
  for (const Sample& sample : samples) {
    const bool right_rank = !rank || sample.rank() == rank;
    if (vitsim::what(sample) == what && right_rank && (run.empty() || sample.run == run)) {
      return {sample.figures().begin(), sample.figures().end()};
    }
  }
  return {};
}

/// Multiplies every figure.
inline void scale(Sample& sample, double factor) {
  PlainSample form = plain(sample);
  for (double& figure : form.figures) {
    figure *= factor;
  }
  sample.series = typed(std::move(form)).series;
}

}  // namespace vitsim
