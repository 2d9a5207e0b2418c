#include "calibrate/import/nccl_tests.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"

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

/// Figures of one row under one of the two headings.
struct Figures {
  double time_us = 0;
  double algbw = 0;
  double busbw = 0;
  bool wrong = false;
};

class Parser {
 public:
  Parser(std::istream& stream, const std::string& origin) : reader_(stream), origin_(origin) {}

  Piece parse(const std::string& name);

 private:
  void read_header(const std::vector<std::string_view>& words);
  void read_rank(const std::vector<std::string_view>& words);
  void read_row(const std::vector<std::string_view>& words);
  void add(std::int64_t bytes, std::size_t place, const Figures& figures);
  void check_collective(std::int64_t bytes, const Figures& figures);

  LineReader reader_;
  const std::string& origin_;
  std::vector<std::string> columns_;  // of the table that is being read
  std::int64_t ranks_ = 0;
  std::set<std::string> hosts_;
  std::string gpu_;
  std::map<std::pair<std::int64_t, std::size_t>, Sample> samples_;  // by size and place
  std::string collective_;
  std::vector<std::string> warnings_;
};

/// "# size count type redop root time algbw busbw #wrong time algbw busbw #wrong"; older versions
/// lack redop and root or call the last column "error".
void Parser::read_header(const std::vector<std::string_view>& words) {
  const auto size = std::ranges::find(words, "size");
  columns_.assign(size, words.end());
}

/// "#  Rank  0 Group  0 Pid  91 on  node01 device  0 [0x07] NVIDIA A100-SXM4-40GB"; "[0x07]" may be
/// "[0000:07:00]".
void Parser::read_rank(const std::vector<std::string_view>& words) {
  const auto on = std::ranges::find(words, "on");
  const auto bus = std::ranges::find_if(
      words, [](std::string_view word) { return word.starts_with('[') && word.ends_with(']'); });
  if (on == words.end() || on + 1 == words.end() || bus == words.end()) {
    return;
  }
  ++ranks_;
  hosts_.insert(std::string(*(on + 1)));
  std::string device;
  for (auto word = bus + 1; word != words.end(); ++word) {
    device += (device.empty() ? "" : " ") + std::string(*word);
  }
  gpu_ = gpu_slug(device);
}

/// Other collectives print the same table with other factors. Small messages round to nothing.
void Parser::check_collective(std::int64_t bytes, const Figures& figures) {
  constexpr double kTelling_gb_per_s = 1;
  constexpr double kTolerance = 0.02;
  if (ranks_ < 2 || figures.algbw < kTelling_gb_per_s) {
    return;
  }
  const auto n = static_cast<double>(ranks_);
  const double expected = 2 * (n - 1) / n;
  if (std::abs(figures.busbw / figures.algbw / expected - 1) > kTolerance) {
    throw UserError(fmt::format(
        "{}:{}: not an AllReduce: at {} bytes the bus bandwidth is {:.3f} of the algorithm's, {} "
        "ranks make it {:.3f}",
        origin_,
        reader_.number(),
        bytes,
        figures.busbw / figures.algbw,
        ranks_,
        expected));
  }
}

void Parser::add(std::int64_t bytes, std::size_t place, const Figures& figures) {
  check_collective(bytes, figures);
  const auto [at, fresh] = samples_.try_emplace({bytes, place});
  Sample& sample = at->second;
  if (fresh) {
    sample.series =
        CollectiveSeries{.bytes = bytes, .place = place == 0 ? "out-of-place" : "in-place"};
  }
  sample.as<CollectiveSeries>()->seconds.push_back(figures.time_us / 1e6);
  if (figures.wrong) {
    warnings_.push_back(
        fmt::format("{}:{}: the result was wrong at {} bytes", origin_, reader_.number(), bytes));
    sample.disturbed = true;
  }
}

void Parser::read_row(const std::vector<std::string_view>& words) {
  if (columns_.empty() || words.size() < columns_.size()) {
    return;
  }
  // A launcher's mark may stand in front.
  const auto first = words.end() - std::ssize(columns_);
  const auto bytes = parse_integer(*first);
  if (!bytes || *bytes <= 0) {
    return;
  }
  std::size_t place = 0;
  for (std::size_t i = 0; i + 2 < columns_.size(); ++i) {
    if (columns_[i] != "time") {
      continue;
    }
    const auto word = [&](std::size_t column) {
      return *(first + static_cast<std::ptrdiff_t>(column));
    };
    const auto time = parse_number(word(i));
    const auto algbw = parse_number(word(i + 1));
    const auto busbw = parse_number(word(i + 2));
    if (!time || *time <= 0 || !algbw || !busbw) {
      warnings_.push_back(
          fmt::format("{}:{}: not a row of figures, left out", origin_, reader_.number()));
      return;
    }
    const bool checked = i + 3 < columns_.size() && columns_[i + 3] == "#wrong";
    const auto wrong = checked ? parse_number(word(i + 3)) : std::nullopt;
    add(*bytes,
        place++,
        {.time_us = *time, .algbw = *algbw, .busbw = *busbw, .wrong = wrong && *wrong > 0});
  }
}

Piece Parser::parse(const std::string& name) {
  std::string line;
  while (reader_.next(line)) {
    const std::vector<std::string_view> words = words_of(line);
    const auto has = [&](std::string_view word) {
      return std::ranges::find(words, word) != words.end();
    };
    if (has("size") && has("algbw") && has("busbw")) {
      read_header(words);
    } else if (has("Rank") && has("Pid") && has("device")) {
      read_rank(words);
    } else if (const std::size_t at = line.find("Collective test starting: ");
               at != std::string::npos) {
      collective_ = trimmed(std::string_view(line).substr(line.find(": ", at) + 2));
      if (collective_ != "all_reduce_perf") {
        throw UserError(fmt::format(
            "{}:{}: \"{}\" is not all_reduce_perf", origin_, reader_.number(), collective_));
      }
    } else if (reader_.ended()) {
      read_row(words);
    } else if (!columns_.empty() && !words.empty() && words.front() != "#") {
      warnings_.push_back(fmt::format(
          "{}:{}: the file ends in the middle of a line, left out", origin_, reader_.number()));
    }
  }
  if (samples_.empty()) {
    throw UserError(fmt::format("{}: no row of figures of nccl-tests in it", origin_));
  }
  Piece piece{.origin = origin_, .authority = Authority::kRankClock};
  if (ranks_ == 0) {
    warnings_.push_back(fmt::format("{}: its ranks are not listed", origin_));
  }
  piece.warnings = std::move(warnings_);
  for (auto& [key, sample] : samples_) {
    auto& series = *sample.as<CollectiveSeries>();
    series.series = name;
    series.backend = "nccl";
    series.gpu = gpu_;
    if (ranks_ > 0) {
      series.ranks = ranks_;
      series.nodes = std::ssize(hosts_);
      series.one_node = hosts_.size() == 1;
    }
    piece.samples.push_back(std::move(sample));
  }
  return piece;
}

}  // namespace

Piece read_nccl_tests(std::istream& stream, const std::string& origin, const std::string& name) {
  return Parser(stream, origin).parse(name);
}

}  // namespace vitsim
