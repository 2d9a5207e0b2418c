#pragma once

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/import/text_source.h"

namespace vitsim {

/// Splits one line of comma-separated values. Fields may stand in double quotes, in which two
/// quotes mean one; blanks around a field are dropped. None if a quote is never closed.
std::optional<std::vector<std::string>> split_csv(std::string_view line);

/// A table with a header line, read row by row, so that its length does not matter. Problems are
/// collected, at most `kMostProblems` of them, each with file and line.
class CsvTable {
 public:
  static constexpr std::size_t kMostProblems = 20;

  /// Reads the header.
  CsvTable(std::istream& stream, std::string origin);

  /// True if the header has the column.
  [[nodiscard]] bool has(std::string_view column) const;

  /// A problem for each of the columns that the header lacks; true if there is none.
  bool require(const std::vector<std::string_view>& columns);

  /// Goes to the next row with as many fields as the header; others are problems, but for one that
  /// the end of the file cuts, which is a warning. Empty lines are skipped. False at the end.
  bool next();

  /// The field of this row under `column`, which must exist.
  [[nodiscard]] const std::string& text(std::string_view column) const;

  /// The same as a number that is finite and at least `least`; else a problem, and none.
  std::optional<double> number(std::string_view column, double least = 0);
  std::optional<std::int64_t> integer(std::string_view column, std::int64_t least = 0);

  /// Adds "file:line: " and the text to the problems.
  void problem(const std::string& text);

  [[nodiscard]] const std::string& origin() const { return origin_; }

  [[nodiscard]] std::int64_t line() const { return reader_.number(); }

  std::vector<std::string> problems;
  std::vector<std::string> warnings;

 private:
  [[nodiscard]] std::size_t index(std::string_view column) const;

  LineReader reader_;
  std::string origin_;
  std::vector<std::string> header_;
  std::vector<std::string> row_;
};

/// The whole of `text` as a finite number, or none.
std::optional<double> parse_number(std::string_view text);
std::optional<std::int64_t> parse_integer(std::string_view text);

/// The parts of `text` between `separator`s, blanks around them dropped; none for an empty text.
std::vector<std::string> split_list(std::string_view text, char separator);

/// `text` without blanks at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace vitsim
