#include "sim/render/html/run_document.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/import/csv_table.h"
#include "models/error.h"
#include "models/report/report.h"
#include "models/report/timeline.h"
#include "sim/assess/validation.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Json epochs_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  CsvTable rows(stream, file.string());
  Json epochs = Json::array();
  if (rows.require({"epoch", "train_s"})) {
    while (rows.next()) {
      Json epoch;
      for (const char* column : {"epoch",
                                 "train_s",
                                 "evaluate_s",
                                 "loss",
                                 "top1",
                                 "top5",
                                 "images_per_s",
                                 "peak_memory_bytes",
                                 "gpu_power_w"}) {
        if (rows.has(column) && !rows.text(column).empty()) {
          if (const auto value = rows.number(column)) {
            epoch[column] = *value;
          }
        }
      }
      epochs.push_back(std::move(epoch));
    }
  }
  if (!rows.problems.empty()) {
    throw UserError(rows.problems);
  }
  return epochs;
}

// The loss of every step, of long runs the mean of neighbouring ones.
Json losses_of(const fs::path& file) {
  constexpr std::size_t kMostPoints = 400;
  std::ifstream stream(file, std::ios::binary);
  CsvTable rows(stream, file.string());
  std::vector<std::pair<std::int64_t, double>> steps;
  if (rows.require({"step", "loss"})) {
    while (rows.next()) {
      const auto step = rows.integer("step");
      const auto loss = rows.number("loss", std::numeric_limits<double>::lowest());
      if (step && loss) {
        steps.emplace_back(*step, *loss);
      }
    }
  }
  if (!rows.problems.empty()) {
    throw UserError(rows.problems);
  }
  const std::size_t group = steps.size() / kMostPoints + 1;
  Json losses = Json::array();
  for (std::size_t first = 0; first < steps.size(); first += group) {
    const std::size_t end = std::min(first + group, steps.size());
    double sum = 0;
    for (std::size_t i = first; i < end; ++i) {
      sum += steps[i].second;
    }
    losses.push_back(
        {{"step", steps[first].first}, {"loss", sum / static_cast<double>(end - first)}});
  }
  return losses;
}

// Mean over ranks of every phase, and of straggler wait, by groups of neighbouring steps.
Json phases_over_steps(const Timeline& timeline) {
  constexpr std::int64_t kMostPoints = 200;
  std::int64_t last_step = 0;
  std::int64_t last_rank = 0;
  for (const Span& span : timeline.spans) {
    last_step = std::max(last_step, span.step);
    last_rank = std::max(last_rank, span.rank);
  }
  const std::int64_t group = last_step / kMostPoints + 1;
  std::map<std::int64_t, std::map<std::string, double>> sums;
  for (const Span& span : timeline.spans) {
    if (span.phase >= Phase::kEpochBarrier) {
      continue;
    }
    const std::string key(span.straggler_wait ? "straggler_wait" : name(span.phase));
    sums[span.step / group][key] += static_cast<double>(span.end_ns - span.begin_ns) * 1e-9;
  }
  Json steps = Json::array();
  for (const auto& [index, phases] : sums) {
    const std::int64_t first = index * group;
    const std::int64_t count = std::min(group, last_step + 1 - first);
    Json of;
    for (const auto& [phase, seconds] : phases) {
      of[phase] = seconds / static_cast<double>(count * (last_rank + 1));
    }
    steps.push_back({{"step", first}, {"phases", std::move(of)}});
  }
  return steps;
}

// A settled step of the run.
std::vector<StepTrack> tracks_of(const Timeline& timeline, const Report& report) {
  constexpr std::int64_t kMostRunTracks = 32;
  std::map<std::int64_t, StepTrack> tracks;
  for (const Span& span : settled_part(timeline, 1).spans) {
    if (span.rank >= kMostRunTracks) {
      continue;
    }
    StepTrack& track = tracks[span.rank];
    track.rank = span.rank;
    track.spans.push_back({.stream = span.stream,
                           .phase = span.phase,
                           .begin_s = static_cast<double>(span.begin_ns) * 1e-9,
                           .end_s = static_cast<double>(span.end_ns) * 1e-9,
                           .straggler_wait = span.straggler_wait});
  }
  for (const RankReport& rank : report.ranks) {
    if (const auto track = tracks.find(rank.rank); track != tracks.end()) {
      track->second.name = fmt::format("{}: {}", rank.node, rank.gpu);
    }
  }
  std::vector<StepTrack> result;
  result.reserve(tracks.size());
  for (auto& [rank, track] : tracks) {
    result.push_back(std::move(track));
  }
  return result;
}

}  // namespace

Json run_document(const fs::path& folder) {
  if (!fs::exists(folder / "report.json")) {
    throw UserError(fmt::format(
        "{}: holds no report.json: name a run directory of `vitsim train`, or a file that --json "
        "wrote",
        folder.string()));
  }
  Report report = read_report(folder / "report.json");
  Json training = Json::object();
  if (fs::exists(folder / "epochs.csv")) {
    training["epochs"] = epochs_of(folder / "epochs.csv");
  }
  if (fs::exists(folder / "steps.csv")) {
    training["losses"] = losses_of(folder / "steps.csv");
  }
  if (fs::exists(folder / "timeline.jsonl")) {
    const Timeline timeline = read_timeline_lines(folder / "timeline.jsonl");
    training["steps"] = phases_over_steps(timeline);
    if (report.timeline.empty()) {
      report.timeline = tracks_of(timeline, report);
    }
  }
  Json document = to_json(report);
  document["training"] = std::move(training);
  return document;
}

}  // namespace vitsim
