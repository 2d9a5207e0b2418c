#include "calibrate/import/describe.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/distribution.h"

namespace vitsim {

namespace {

/// "tesla-p4, 4 x rtx-3070": ranks in a row of one kind are counted.
std::string gpu_list(const std::vector<std::string>& gpus) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < gpus.size();) {
    std::size_t end = i;
    while (end < gpus.size() && gpus[end] == gpus[i]) {
      ++end;
    }
    parts.push_back(end - i == 1 ? gpus[i] : fmt::format("{} x {}", end - i, gpus[i]));
    i = end;
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Steps that the best recorded rank shows.
std::size_t recorded_steps(const Measurement& measurement, const RecordedRun& run) {
  std::size_t most = 0;
  for (const Sample& sample : measurement.samples) {
    if (sample.run != run.name) {
      continue;
    }
    if (const auto* forward = sample.phase(StepPart::kForward)) {
      most = std::max(most, forward->seconds.size() / static_cast<std::size_t>(run.accumulation));
    } else if (const auto* step = sample.as<StepSeries>()) {
      most = std::max(most, step->seconds.size());
    }
  }
  return most;
}

std::string epoch_text(const Measurement& measurement, const RecordedRun& run) {
  for (const Sample& sample : measurement.samples) {
    const auto* epochs = sample.as<EpochSeries>();
    if (sample.run == run.name && epochs != nullptr && !epochs->seconds.empty()) {
      return fmt::format("{} x {:.2f} s", epochs->seconds.size(), median(epochs->seconds));
    }
  }
  return "-";
}

std::string batch_text(const RecordedRun& run) {
  if (run.micro_batch.empty()) {
    return "?";
  }
  std::string text = fmt::format("{}", fmt::join(run.micro_batch, "+"));
  return run.accumulation > 1 ? fmt::format("{} x {}", text, run.accumulation) : text;
}

using Row = std::array<std::string, 7>;

std::string table(const std::vector<Row>& rows) {
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += fmt::format("  {:<{}}", row[i], widths[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

}  // namespace

std::string describe(const Measurement& measurement) {
  std::string text;
  if (!measurement.runs.empty()) {
    text += fmt::format("{} runs:\n", measurement.runs.size());
    std::vector<Row> rows = {
        {"run", "GPUs", "model", "precision", "batch", "steps", "epochs"}
    };
    for (const RecordedRun& run : measurement.runs) {
      const std::size_t steps = recorded_steps(measurement, run);
      rows.push_back({run.name,
                      gpu_list(run.gpus),
                      run.model.name,
                      fmt::format("{}{}", name(run.precision), run.precision_inferred ? "?" : ""),
                      batch_text(run),
                      steps == 0 ? "-" : fmt::format("{}", steps),
                      epoch_text(measurement, run)});
    }
    text += table(rows);
  }
  std::map<std::string, std::size_t> others;
  for (const Sample& sample : measurement.samples) {
    if (sample.run.empty()) {
      others[what(sample)] += sample.figures().size();
    }
  }
  for (const auto& [what, count] : others) {
    text += fmt::format("{} measurements of {}\n", count, what);
  }
  for (const std::string& warning : measurement.warnings) {
    text += fmt::format("warning: {}\n", warning);
  }
  return text;
}

}  // namespace vitsim
