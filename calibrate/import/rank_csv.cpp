#include "calibrate/import/rank_csv.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "models/error.h"

namespace vitsim {

namespace {

void hand_over(CsvTable& table, Piece& piece) {
  if (!table.problems.empty()) {
    throw UserError(table.problems);
  }
  piece.warnings = table.warnings;
}

}  // namespace

Piece read_rank_clock(std::istream& stream,
                      const std::string& origin,
                      const std::string& run,
                      std::int64_t rank) {
  static constexpr std::array<std::pair<std::string_view, std::optional<StepPart>>, 6> kColumns = {
      {{"ds_fwd_microstep", StepPart::kForward},
       {"ds_bwd_microstep", StepPart::kBackward},
       {"ds_bwd_inner_microstep", StepPart::kBackwardCompute},
       {"ds_bwd_allreduce_microstep", StepPart::kGradientAllReduce},
       {"ds_step_microstep", StepPart::kOptimizer},
       {"total_ms", std::nullopt}}  // the whole
  };
  CsvTable table(stream, origin);
  std::vector<std::string_view> names = {"microstep"};
  std::ranges::transform(
      kColumns, std::back_inserter(names), [](const auto& column) { return column.first; });
  Piece piece{
      .origin = origin, .run = run, .authority = Authority::kRankClock, .by_micro_step = true};
  if (!table.require(names)) {
    throw UserError(table.problems);
  }
  std::array<std::vector<double>, kColumns.size()> columns;
  while (table.next()) {
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
      if (const auto value = table.number(kColumns[i].first)) {
        columns[i].push_back(*value / 1e3);
      }
    }
  }
  hand_over(table, piece);
  if (columns.front().empty()) {
    throw UserError(fmt::format("{}: no step in it", origin));
  }
  for (std::size_t i = 0; i < kColumns.size(); ++i) {
    const std::optional<StepPart> part = kColumns[i].second;
    piece.samples.push_back(part ? phase_sample(*part, rank, std::move(columns[i]))
                                 : step_sample(rank, std::move(columns[i])));
  }
  piece.facts.wall_clock_breakdown = true;
  return piece;
}

void group_micro_steps(Piece& piece, std::int64_t accumulation) {
  VITSIM_CHECK(accumulation, >, 0);
  piece.by_micro_step = false;
  for (Sample& sample : piece.samples) {
    const std::int64_t steps = std::ssize(sample.figures()) / accumulation;
    const auto whole_steps = static_cast<std::size_t>(steps * accumulation);
    if (auto* phase = sample.as<PhaseSeries>()) {
      phase->seconds.resize(whole_steps);
      sample.warm_up = std::min(kWarmUpSteps, steps) * accumulation;
    } else if (auto* step = sample.as<StepSeries>()) {
      step->seconds.resize(whole_steps);
      std::vector<double> sums;
      for (auto first = step->seconds.begin(); first != step->seconds.end();
           first += accumulation) {
        sums.push_back(std::accumulate(first, first + accumulation, 0.0));
      }
      step->seconds = std::move(sums);
      sample.warm_up = std::min(kWarmUpSteps, steps);
    }
  }
}

Piece read_all_reduce_table(std::istream& stream,
                            const std::string& origin,
                            const std::string& name,
                            std::int64_t rank,
                            std::optional<std::int64_t> ranks) {
  CsvTable table(stream, origin);
  if (!table.require({"bytes", "allreduce_ms"})) {
    throw UserError(table.problems);
  }
  std::map<std::int64_t, std::vector<double>> by_size;
  while (table.next()) {
    const auto bytes = table.integer("bytes");
    const auto milliseconds = table.number("allreduce_ms");
    if (bytes && milliseconds) {
      by_size[*bytes].push_back(*milliseconds / 1e3);
    }
  }
  Piece piece{.origin = origin, .authority = Authority::kRankClock};
  hand_over(table, piece);
  if (by_size.empty()) {
    throw UserError(fmt::format("{}: no AllReduce in it", origin));
  }
  for (auto& [bytes, seconds] : by_size) {
    piece.samples.push_back({.series = CollectiveSeries{.bytes = bytes,
                                                        .ranks = ranks,
                                                        .rank = rank,
                                                        .series = name,
                                                        .seconds = std::move(seconds)}});
  }
  if (!ranks) {
    piece.warnings.push_back(
        fmt::format("{}: the number of ranks is neither in the table nor in its name", origin));
  }
  return piece;
}

}  // namespace vitsim
