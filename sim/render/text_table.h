#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vitsim {

/// How a part of the output stands out where the terminal has colours.
enum class Ink { kPlain, kStrong, kSoft, kGood, kBad, kCaution };

/// Colours of the terminal, or none.
struct TextStyle {
  bool colours = false;

  [[nodiscard]] std::string operator()(Ink ink, std::string_view text) const;
};

struct TextCell {
  std::string text;
  Ink ink = Ink::kPlain;

  // A cell is a text: rows are lists of texts.
  TextCell(std::string words, Ink how = Ink::kPlain)  // NOLINT(google-explicit-constructor)
      : text(std::move(words)), ink(how) {}

  TextCell(const char* words) : text(words) {}  // NOLINT(google-explicit-constructor)
};

/// A table for terminals. Columns are as wide as what they hold, two blanks apart. A table that
/// would be wider than 100 characters breaks its headings, then its widest words columns, into
/// several lines: columns never run together.
class TextTable {
 public:
  static constexpr std::size_t kWidth = 100;

  enum class Align { kLeft, kRight };

  struct Column {
    std::string title;
    Align align = Align::kRight;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell for each column; missing ones are empty.
  void add(std::vector<TextCell> row);

  [[nodiscard]] bool empty() const { return rows_.empty(); }

  /// Lines that each begin with `indent` blanks and end without any.
  [[nodiscard]] std::string text(const TextStyle& style = {}, std::size_t indent = 0) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths(std::size_t room) const;

  std::vector<Column> columns_;
  std::vector<std::vector<TextCell>> rows_;
};

/// Characters, not bytes.
std::size_t characters(std::string_view text);

/// Lines of at most `width` characters, broken between words where that is possible.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

}  // namespace vitsim
