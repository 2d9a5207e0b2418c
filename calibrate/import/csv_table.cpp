#include "calibrate/import/csv_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

std::vector<std::string> split_list(std::string_view text, char separator) {
  std::vector<std::string> parts;
  if (trimmed(text).empty()) {
    return parts;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return parts;
}

std::optional<std::vector<std::string>> split_csv(std::string_view line) {
  std::vector<std::string> fields;
  std::size_t at = 0;
  while (true) {
    while (at < line.size() && (line[at] == ' ' || line[at] == '\t')) {
      ++at;
    }
    std::string field;
    if (at < line.size() && line[at] == '"') {
      for (++at;; ++at) {
        if (at >= line.size()) {
          return std::nullopt;
        }
        if (line[at] == '"') {
          if (at + 1 >= line.size() || line[at + 1] != '"') {
            break;
          }
          ++at;
        }
        field.push_back(line[at]);
      }
      at = std::min(line.find(',', at), line.size());
    } else {
      const std::size_t end = std::min(line.find(',', at), line.size());
      field = trimmed(line.substr(at, end - at));
      at = end;
    }
    fields.push_back(std::move(field));
    if (at >= line.size()) {
      return fields;
    }
    ++at;
  }
}

CsvTable::CsvTable(std::istream& stream, std::string origin)
    : reader_(stream), origin_(std::move(origin)) {
  std::string line;
  while (header_.empty() && reader_.next(line)) {
    if (!trimmed(line).empty()) {
      header_ = split_csv(line).value_or(std::vector<std::string>{});
    }
  }
}

bool CsvTable::has(std::string_view column) const {
  return std::ranges::find(header_, column) != header_.end();
}

bool CsvTable::require(const std::vector<std::string_view>& columns) {
  bool complete = true;
  for (const std::string_view column : columns) {
    if (!has(column)) {
      problem(fmt::format("column \"{}\" is missing", column));
      complete = false;
    }
  }
  return complete;
}

bool CsvTable::next() {
  std::string line;
  while (reader_.next(line)) {
    if (trimmed(line).empty()) {
      continue;
    }
    auto fields = split_csv(line);
    const bool whole = fields && fields->size() == header_.size();
    if (!reader_.ended()) {
      warnings.push_back(fmt::format("{}:{}: the file ends in the middle of a line, which is {}",
                                     origin_,
                                     reader_.number(),
                                     whole ? "taken as it is" : "left out"));
    }
    if (whole) {
      row_ = std::move(*fields);
      return true;
    }
    if (!reader_.ended()) {
      return false;
    }
    problem(fields
                ? fmt::format("{} fields where the header has {}", fields->size(), header_.size())
                : "a quote is not closed");
  }
  return false;
}

std::size_t CsvTable::index(std::string_view column) const {
  const auto found = std::ranges::find(header_, column);
  VITSIM_CHECK(found != header_.end(), ==, true);
  return static_cast<std::size_t>(found - header_.begin());
}

const std::string& CsvTable::text(std::string_view column) const {
  return row_[index(column)];
}

std::optional<double> CsvTable::number(std::string_view column, double least) {
  const std::optional<double> value = parse_number(text(column));
  if (!value || *value < least) {
    problem(fmt::format("{}: \"{}\" is not a number of at least {}", column, text(column), least));
    return std::nullopt;
  }
  return value;
}

std::optional<std::int64_t> CsvTable::integer(std::string_view column, std::int64_t least) {
  const std::optional<std::int64_t> value = parse_integer(text(column));
  if (!value || *value < least) {
    problem(fmt::format(
        "{}: \"{}\" is not a whole number of at least {}", column, text(column), least));
    return std::nullopt;
  }
  return value;
}

void CsvTable::problem(const std::string& text) {
  if (problems.size() < kMostProblems) {
    problems.push_back(fmt::format("{}:{}: {}", origin_, reader_.number(), text));
  } else if (problems.size() == kMostProblems) {
    problems.push_back(fmt::format("{}: more problems follow", origin_));
  }
}

}  // namespace vitsim
