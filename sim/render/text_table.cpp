#include "sim/render/text_table.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace vitsim {

namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kLeastWords = 8;  // of a column of words that is made narrower

std::string_view code_of(Ink ink) {
  switch (ink) {
    case Ink::kPlain:
      return "";
    case Ink::kStrong:
      return "\x1b[1m";
    case Ink::kSoft:
      return "\x1b[2m";
    case Ink::kGood:
      return "\x1b[32m";
    case Ink::kBad:
      return "\x1b[31m";
    case Ink::kCaution:
      return "\x1b[33m";
  }
  return "";
}

// Bytes of the first `count` characters.
std::size_t bytes_of(std::string_view text, std::size_t count) {
  std::size_t at = 0;
  while (at < text.size()) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U;
    if (begins && count-- == 0) {
      break;
    }
    ++at;
  }
  return at;
}

std::size_t longest_word(std::string_view text) {
  std::size_t longest = 0;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    longest = std::max(longest, characters(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return longest;
}

}  // namespace

std::string TextStyle::operator()(Ink ink, std::string_view text) const {
  const std::string_view code = code_of(ink);
  return !colours || code.empty() || text.empty() ? std::string(text)
                                                  : fmt::format("{}{}\x1b[0m", code, text);
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  while (characters(text) > width) {
    std::size_t end = bytes_of(text, width);
    const std::size_t blank = text.substr(0, end + 1).rfind(' ');
    const bool at_blank = blank != std::string_view::npos && blank > 0;
    end = at_blank ? blank : end;
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(at_blank ? end + 1 : end);
  }
  lines.emplace_back(text);
  return lines;
}

void TextTable::add(std::vector<TextCell> row) {
  row.resize(columns_.size(), TextCell(""));
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> TextTable::widths(std::size_t room) const {
  const std::size_t count = columns_.size();
  std::vector<std::size_t> body(count, 0);
  std::vector<std::size_t> result(count, 0);
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::vector<TextCell>& row : rows_) {
      body[i] = std::max(body[i], characters(row[i].text));
    }
    result[i] = std::max(body[i], characters(columns_[i].title));
  }
  const auto total = [&] {
    return std::accumulate(result.begin(), result.end(), kGap * (count - 1));
  };
  // Headings first, the one that stands out most; then columns of words.
  while (total() > room) {
    std::size_t widest = count;
    std::size_t most = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t least = std::max(body[i], longest_word(columns_[i].title));
      if (result[i] > least && result[i] - least > most) {
        most = result[i] - least;
        widest = i;
      }
    }
    if (widest == count) {
      break;
    }
    --result[widest];
  }
  while (total() > room) {
    std::size_t widest = count;
    for (std::size_t i = 0; i < count; ++i) {
      if (columns_[i].align == Align::kLeft && result[i] > kLeastWords &&
          (widest == count || result[i] > result[widest])) {
        widest = i;
      }
    }
    if (widest == count) {
      break;
    }
    --result[widest];
  }
  return result;
}

std::string TextTable::text(const TextStyle& style, std::size_t indent) const {
  const std::vector<std::size_t> width = widths(kWidth - indent);
  const std::string margin(indent, ' ');
  std::string text;
  const auto add_row = [&](const std::vector<TextCell>& row, bool is_heading) {
    std::vector<std::vector<std::string>> parts;
    std::size_t lines = 1;
    for (std::size_t i = 0; i < row.size(); ++i) {
      parts.push_back(wrapped(row[i].text, std::max<std::size_t>(width[i], 1)));
      lines = std::max(lines, parts.back().size());
    }
    for (std::size_t line = 0; line < lines; ++line) {
      std::string shown = margin;
      std::size_t blanks = 0;  // that are only written where something follows
      for (std::size_t i = 0; i < row.size(); ++i) {
        // Headings of several lines stand on the table, not under its top.
        const std::size_t first = is_heading ? lines - parts[i].size() : 0;
        const bool is_there = line >= first && line - first < parts[i].size();
        const std::string part = is_there ? parts[i][line - first] : std::string();
        const std::size_t rest = width[i] - std::min(width[i], characters(part));
        const bool right = columns_[i].align == Align::kRight;
        blanks += (i == 0 ? 0 : kGap) + (right ? rest : 0);
        if (!part.empty()) {
          shown += std::string(blanks, ' ') + style(row[i].ink, part);
          blanks = 0;
        } else {
          blanks += right ? width[i] - rest : 0;
        }
        blanks += right ? 0 : rest;
      }
      shown.erase(shown.find_last_not_of(' ') + 1);
      text += shown + "\n";
    }
  };
  std::vector<TextCell> heading;
  for (const Column& column : columns_) {
    heading.emplace_back(column.title, Ink::kSoft);
  }
  add_row(heading, true);
  for (const std::vector<TextCell>& row : rows_) {
    add_row(row, false);
  }
  return text;
}

}  // namespace vitsim
