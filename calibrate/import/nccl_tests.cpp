#include "calibrate/import/nccl_tests.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/collective_runs.h"
#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"

// A table looks like
//
//   # Collective test starting: all_reduce_perf                       (newer versions)
//   # nThread 1 nGpus 1 minBytes 1024 ...
//   # Using devices
//   #  Rank  0 Group  0 Pid  91 on  node01 device  0 [0x07] NVIDIA A100-SXM4-40GB
//   #       size         count      type   redop    root     time   algbw   busbw #wrong ...
//           1024           256     float     sum      -1    34.52    0.03    0.04      0 ...
//
// Older versions lack `redop` and `root`, call `size` `bytes`, `count` `N`, the last column
// `error`. With `-S` a date and a time of day follow. A launcher's mark may stand in front of any
// line. So a row is found by its type, which is the one word among its first that is no number.

namespace vitsim {

namespace {

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  constexpr std::string_view kBlanks = " \t\r";
  for (std::size_t at = line.find_first_not_of(kBlanks); at != std::string_view::npos;
       at = line.find_first_not_of(kBlanks, at)) {
    const std::size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

using Words = std::vector<std::string_view>;

bool contains(const Words& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

class Parser {
 public:
  Parser(std::istream& stream, const std::string& origin) : reader_(stream), origin_(origin) {}

  Piece parse(const std::string& name, std::optional<std::int64_t> ranks);

 private:
  void read_line(std::string_view line, const Words& words);
  void start_run(bool even_without_rows);
  void read_header(const Words& words);
  void read_rank(const Words& words);
  void read_row(const Words& words);
  [[nodiscard]] std::optional<std::size_t> first_column(const Words& words) const;
  bool read_place(const Words& words, std::size_t first, std::size_t time_column);

  void warn(std::string_view text) {
    warnings_.push_back(fmt::format("{}:{}: {}", origin_, reader_.number(), text));
  }

  LineReader reader_;
  const std::string& origin_;
  std::vector<std::string> columns_;  // of the table that is being read
  std::vector<CollectiveRun> runs_;
  bool predicted_ = false;  // by `vitsim collective`
  std::vector<std::string> warnings_;
};

/// A run that has printed rows is over; one that lists its ranks is over where devices begin anew.
void Parser::start_run(bool even_without_rows) {
  const bool over = runs_.empty() || !runs_.back().rows.empty() ||
                    (even_without_rows && !runs_.back().ranks.empty());
  if (over) {
    runs_.push_back({.line = reader_.number()});
    columns_.clear();
  }
}

void Parser::read_header(const Words& words) {
  const auto first = std::ranges::find_if(
      words, [](std::string_view word) { return word == "size" || word == "bytes"; });
  columns_.assign(first, words.end());
  for (std::string& column : columns_) {
    if (column == "N") {
      column = "count";
    } else if (column == "op") {
      column = "redop";
    }
  }
}

/// "[0x07]" may be "[0000:07:00]" or "[0000:07:00.0]"; "Group" is absent in older versions.
void Parser::read_rank(const Words& words) {
  const auto rank = std::ranges::find(words, "Rank");
  const auto on = std::ranges::find(words, "on");
  const auto bus = std::ranges::find_if(
      words, [](std::string_view word) { return word.starts_with('[') && word.ends_with(']'); });
  // A launcher's mark may also stand in brackets, in front.
  const auto last_bus = bus < rank
                            ? std::find_if(rank,
                                           words.end(),
                                           [](std::string_view word) {
                                             return word.starts_with('[') && word.ends_with(']');
                                           })
                            : bus;
  if (rank == words.end() || rank + 1 == words.end() || on == words.end() ||
      on + 1 == words.end() || last_bus == words.end()) {
    return;
  }
  CollectiveRank listed{.rank = parse_integer(*(rank + 1)).value_or(-1),
                        .host = std::string(*(on + 1))};
  for (auto word = last_bus + 1; word != words.end(); ++word) {
    listed.device += (listed.device.empty() ? "" : " ") + std::string(*word);
  }
  if (runs_.empty()) {
    start_run(true);
  }
  constexpr std::size_t kMostListed = 1'000'000;
  if (listed.rank >= 0 && runs_.back().ranks.size() < kMostListed) {
    runs_.back().ranks.push_back(std::move(listed));
  }
}

/// Where in a line the row begins; none where the line is no row.
std::optional<std::size_t> Parser::first_column(const Words& words) const {
  const auto type = std::ranges::find(columns_, "type");
  if (type == columns_.end()) {
    // Of `vitsim collective`: five columns, the second a name.
    return words.size() == columns_.size() && parse_integer(words.front())
               ? std::optional<std::size_t>(0)
               : std::nullopt;
  }
  const auto before = static_cast<std::size_t>(type - columns_.begin());
  for (std::size_t at = 0; at + columns_.size() <= words.size() + 1; ++at) {
    if (at + before >= words.size()) {
      break;
    }
    const std::string_view word = words[at + before];
    const bool named = !word.empty() && word.front() >= 'a' && word.front() <= 'z';
    if (named && parse_integer(words[at]) && (before < 2 || parse_integer(words[at + 1]))) {
      return at;
    }
  }
  return std::nullopt;
}

bool Parser::read_place(const Words& words, std::size_t first, std::size_t time_column) {
  const auto word = [&](std::size_t column) -> std::string_view {
    return first + column < words.size() ? words[first + column] : std::string_view();
  };
  const auto number_under = [&](std::string_view column) -> std::optional<std::int64_t> {
    const auto found = std::ranges::find(columns_, column);
    return found == columns_.end()
               ? std::nullopt
               : parse_integer(word(static_cast<std::size_t>(found - columns_.begin())));
  };
  const auto text_under = [&](std::string_view column) {
    const auto found = std::ranges::find(columns_, column);
    return std::string(
        found == columns_.end() ? "" : word(static_cast<std::size_t>(found - columns_.begin())));
  };
  const auto time_us = parse_number(word(time_column));
  const auto algbw = parse_number(word(time_column + 1));
  const auto busbw = parse_number(word(time_column + 2));
  if (!time_us || *time_us <= 0 || !algbw || !busbw || *algbw < 0 || *busbw < 0) {
    warn("not a row of figures, left out");
    return false;
  }
  const bool checked = time_column + 3 < columns_.size() && columns_[time_column + 3] == "#wrong";
  const auto wrong = checked ? parse_number(word(time_column + 3)) : std::nullopt;
  CollectiveRun& run = runs_.back();
  const bool second = !run.rows.empty() && run.rows.back().line == reader_.number();
  run.rows.push_back({.line = reader_.number(),
                      .bytes = parse_integer(word(0)).value_or(0),
                      .elements = number_under("count"),
                      .type = text_under("type"),
                      .operation = text_under("redop"),
                      .root = number_under("root"),
                      .in_place = second,
                      .seconds = *time_us / 1e6,
                      .algorithm_gb_per_s = *algbw,
                      .bus_gb_per_s = *busbw,
                      .wrong = wrong && *wrong > 0});
  return true;
}

void Parser::read_row(const Words& words) {
  if (columns_.empty() || runs_.empty()) {
    return;
  }
  const auto first = first_column(words);
  if (!first) {
    return;
  }
  const auto bytes = parse_integer(words[*first]);
  constexpr std::int64_t kMostCountedBytes = 1'000'000'000'000'000;
  if (!bytes || *bytes <= 0 || *bytes > kMostCountedBytes) {
    return;  // nothing was sent
  }
  if (std::ranges::count(columns_, "time") > 0 && words.size() < *first + columns_.size()) {
    // A time stamp is two words under one heading, everything else one.
    warn("not a row of figures, left out");
    return;
  }
  for (std::size_t i = 0; i + 2 < columns_.size(); ++i) {
    if (columns_[i] == "time" && !read_place(words, *first, i)) {
      return;
    }
  }
}

void Parser::read_line(std::string_view line, const Words& words) {
  static constexpr std::string_view kStarting = "Collective test starting: ";
  if ((contains(words, "size") || contains(words, "bytes")) && contains(words, "algbw") &&
      contains(words, "busbw")) {
    if (runs_.empty()) {
      start_run(false);
    }
    read_header(words);
  } else if (contains(words, "Rank") && contains(words, "Pid") && contains(words, "device")) {
    read_rank(words);
  } else if (const std::size_t at = line.find(kStarting); at != std::string_view::npos) {
    start_run(false);
    const std::string_view test = trimmed(line.substr(at + kStarting.size()));
    runs_.back().collective = collective_from_name(test);
    if (!runs_.back().collective) {
      warn(fmt::format("\"{}\" is no collective that is known: told by its columns", test));
    }
  } else if (contains(words, "nThread")) {
    start_run(false);
  } else if (contains(words, "Using") && contains(words, "devices")) {
    start_run(true);
  } else if (contains(words, "among") && line.find("everybody ready at once") != line.npos) {
    start_run(false);
    const auto among = std::ranges::find(words, "among");
    runs_.back().collective = collective_from_name(words.size() > 1 ? words[1] : words[0]);
    runs_.back().stated_ranks =
        among + 1 == words.end() ? std::nullopt : parse_integer(*(among + 1));
    predicted_ = true;
  } else if (reader_.ended()) {
    read_row(words);
  } else if (!columns_.empty() && !words.empty() && words.front() != "#") {
    warn("the file ends in the middle of a line, left out");
  }
}

Piece Parser::parse(const std::string& name, std::optional<std::int64_t> ranks) {
  std::string line;
  while (reader_.next(line)) {
    read_line(line, words_of(line));
  }
  Piece piece =
      collective_piece(std::move(runs_), origin_, name, predicted_ ? "vitsim" : "nccl", ranks);
  if (predicted_) {
    warnings_.push_back(fmt::format("{}: times that vitsim predicted, not measured", origin_));
  }
  std::ranges::move(piece.warnings, std::back_inserter(warnings_));
  piece.warnings = std::move(warnings_);
  return piece;
}

}  // namespace

Piece read_nccl_tests(std::istream& stream,
                      const std::string& origin,
                      const std::string& name,
                      std::optional<std::int64_t> ranks) {
  return Parser(stream, origin).parse(name, ranks);
}

}  // namespace vitsim
