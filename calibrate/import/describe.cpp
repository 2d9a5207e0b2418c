#include "calibrate/import/describe.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/distribution.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"

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

/// Steps after the warm-up that the best recorded rank shows.
std::int64_t settled_steps(const Measurement& measurement, const RecordedRun& run) {
  std::int64_t most = 0;
  for (const Sample& sample : measurement.samples) {
    const bool phase = sample.phase(StepPart::kForward) != nullptr;
    if (sample.run == run.name && (phase || sample.as<StepSeries>() != nullptr)) {
      const std::int64_t steps = std::ssize(sample.figures()) - sample.warm_up;
      most = std::max(most, phase ? steps / run.accumulation : steps);
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

using Row = std::array<std::string, 8>;

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

std::string sizes_text(std::int64_t least, std::int64_t most) {
  const auto text = [](std::int64_t bytes) { return human(Bytes(static_cast<double>(bytes))); };
  return least == most ? text(least) : fmt::format("{} to {}", text(least), text(most));
}

/// One line for each table of collectives.
std::string collectives_text(const Measurement& measurement) {
  struct Table {
    const CollectiveSeries* first = nullptr;
    std::int64_t least = 0;
    std::int64_t most = 0;
    std::set<std::int64_t> sizes;
  };

  std::map<std::tuple<std::string, MeasuredCollective, std::optional<std::int64_t>>, Table> tables;
  for (const Sample& sample : measurement.samples) {
    const auto* series = sample.as<CollectiveSeries>();
    if (series == nullptr || !sample.run.empty()) {
      continue;
    }
    Table& table = tables[{series->series, series->kind, series->ranks}];
    table.least = table.first == nullptr ? series->bytes : std::min(table.least, series->bytes);
    table.most = std::max(table.most, series->bytes);
    table.first = series;
    table.sizes.insert(series->bytes);
  }
  std::string text;
  for (const auto& [key, table] : tables) {
    const CollectiveSeries& series = *table.first;
    text += fmt::format("{}: {}, {}{}{}, {} ({})\n",
                        series.series.empty() ? "measured" : series.series,
                        name(series.kind),
                        series.ranks ? counted(*series.ranks, "rank") : "unknown ranks",
                        series.nodes ? " on " + counted(*series.nodes, "node") : "",
                        series.gpu.empty() ? "" : ", " + series.gpu,
                        counted(std::ssize(table.sizes), "size"),
                        sizes_text(table.least, table.most));
  }
  return text;
}

}  // namespace

std::string describe(const Measurement& measurement) {
  std::string text;
  if (!measurement.runs.empty()) {
    text += counted(std::ssize(measurement.runs), "run") + ":\n";
    std::vector<Row> rows = {
        {"run", "ranks", "GPUs", "model", "precision", "batch", "steps", "epochs"}};
    for (const RecordedRun& run : measurement.runs) {
      const std::int64_t steps = settled_steps(measurement, run);
      rows.push_back({run.name,
                      fmt::format("{}", run.gpus.size()),
                      gpu_list(run.gpus),
                      run.model.name,
                      fmt::format("{}{}", name(run.precision), run.precision_inferred ? "?" : ""),
                      batch_text(run),
                      steps == 0 ? "-" : fmt::format("{}", steps),
                      epoch_text(measurement, run)});
    }
    text += table(rows);
  }
  text += collectives_text(measurement);
  for (const auto& [key, value] : measurement.environment) {
    if (key.starts_with("links of ")) {
      text += fmt::format("{}: {}\n", key, value);
    }
  }
  std::map<std::string, std::size_t> others;
  for (const Sample& sample : measurement.samples) {
    if (sample.run.empty() && sample.as<CollectiveSeries>() == nullptr) {
      others[what(sample)] += sample.figures().size();
    }
  }
  for (const auto& [what, count] : others) {
    text +=
        fmt::format("{} of {}\n", counted(static_cast<std::int64_t>(count), "measurement"), what);
  }
  return text;
}

}  // namespace vitsim
