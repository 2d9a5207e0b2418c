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
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kColumns = {
      {{"ds_fwd_microstep", "forward"},
       {"ds_bwd_microstep", "backward"},
       {"ds_bwd_inner_microstep", "backward_compute"},
       {"ds_bwd_allreduce_microstep", "gradient_all_reduce"},
       {"ds_step_microstep", "optimizer"},
       {"total_ms", "step"}}
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
    piece.samples.push_back(
        rank_sample(std::string(kColumns[i].second), rank, std::move(columns[i])));
  }
  piece.facts.wall_clock_breakdown = true;
  return piece;
}

void group_micro_steps(Piece& piece, std::int64_t accumulation) {
  VITSIM_CHECK(accumulation, >, 0);
  piece.by_micro_step = false;
  for (Sample& sample : piece.samples) {
    const std::int64_t steps = std::ssize(sample.seconds) / accumulation;
    sample.seconds.resize(static_cast<std::size_t>(steps * accumulation));
    sample.warm_up = std::min(kWarmUpSteps, steps) * accumulation;
    if (sample.what == "step") {
      std::vector<double> sums;
      for (auto first = sample.seconds.begin(); first != sample.seconds.end();
           first += accumulation) {
        sums.push_back(std::accumulate(first, first + accumulation, 0.0));
      }
      sample.seconds = std::move(sums);
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
    Sample sample{.what = "all_reduce", .seconds = std::move(seconds)};
    sample.text["series"] = name;
    sample.number["bytes"] = static_cast<double>(bytes);
    sample.number["rank"] = static_cast<double>(rank);
    if (ranks) {
      sample.number["ranks"] = static_cast<double>(*ranks);
    }
    piece.samples.push_back(std::move(sample));
  }
  if (!ranks) {
    piece.warnings.push_back(
        fmt::format("{}: the number of ranks is neither in the table nor in its name", origin));
  }
  return piece;
}

}  // namespace vitsim
