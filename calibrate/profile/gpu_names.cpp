// Which known GPU a mistyped name means, without ever offering other hardware.
//
// What tells two GPUs apart is the numbers in their names and a few words behind them: an RTX 3070
// is no RTX 3080, and an RTX 4070 Ti no RTX 4070. Everything else in a name is a vendor's or a
// family's word, in which a slip can be mended.
#include "calibrate/profile/gpu_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/document/words.h"

namespace vitsim {

namespace {

constexpr std::array<std::string_view, 8> kMakers = {
    "nvidia", "geforce", "amd", "instinct", "radeon", "quadro", "tesla", "gtx"};

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

/// In lower case, with a letter that looks like a digit taken for one where it stands beside one.
std::string normalised(std::string_view word) {
  std::string text;
  for (const char c : word) {
    text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  for (std::size_t i = 1; i < text.size(); ++i) {
    const bool ends = i + 1 == text.size() || !is_letter(text[i + 1]);
    if (is_digit(text[i - 1]) && ends && (text[i] == 'o' || text[i] == 'l' || text[i] == 'i')) {
      text[i] = text[i] == 'o' ? '0' : '1';
    }
  }
  return text;
}

/// A name in its parts: runs of letters and runs of digits.
std::vector<std::string> parts(std::string_view word) {
  std::vector<std::string> found;
  bool is_open = false;
  for (const char c : normalised(word)) {
    if (!is_digit(c) && !is_letter(c)) {
      is_open = false;
      continue;
    }
    if (!is_open || is_digit(found.back().back()) != is_digit(c)) {
      found.emplace_back();
    }
    found.back() += c;
    is_open = true;
  }
  return found;
}

/// The numbers of a name, and the words behind its first number: what makes it another GPU.
std::vector<std::string> identity(std::string_view word) {
  std::vector<std::string> found;
  for (const std::string& part : parts(word)) {
    if (is_digit(part.front()) || (!found.empty() && part != "gb")) {
      found.push_back(part);
    }
  }
  return found;
}

/// The letters in front of the first number, without the makers' words.
std::string family_word(std::string_view word) {
  std::string found;
  for (const std::string& part : parts(word)) {
    if (is_digit(part.front())) {
      break;
    }
    if (std::ranges::find(kMakers, part) == kMakers.end()) {
      found += part;
    }
  }
  return found;
}

/// Whether one word can stand for the other. Short ones name the hardware: an A40 is no L40.
bool may_be_slip(const std::string& a, const std::string& b) {
  constexpr std::size_t kShort = 2;
  return a == b || a.empty() || (a.size() > kShort && b.size() > kShort);
}

std::string first_number(std::string_view word) {
  for (const std::string& part : parts(word)) {
    if (is_digit(part.front())) {
      return part;
    }
  }
  return "";
}

/// Known names with the same letters in front and a number of as many digits, the same first ones
/// where there are such names.
std::vector<std::string> family(std::string_view word, std::span<const std::string> known) {
  const std::string letters = family_word(word);
  const std::string number = first_number(word);
  std::vector<std::string> wide;
  std::vector<std::string> narrow;
  for (const std::string& name : known) {
    const std::string other = first_number(name);
    if (family_word(name) != letters || other.empty() || number.empty()) {
      continue;
    }
    wide.push_back(name);
    if (other == number ||
        (other.size() == number.size() && number.size() > 2 &&
         other.substr(0, number.size() - 2) == number.substr(0, number.size() - 2))) {
      narrow.push_back(name);
    }
  }
  return narrow.empty() ? wide : narrow;
}

}  // namespace

std::string unknown_gpu_hint(std::string_view word, std::span<const std::string> known) {
  const std::vector<std::string> wanted = identity(word);
  std::vector<std::string> same;
  std::ranges::copy_if(known, std::back_inserter(same), [&](const std::string& name) {
    return identity(name) == wanted && may_be_slip(family_word(word), family_word(name));
  });
  const auto only_maker = std::ranges::find_if(
      same, [&](const std::string& name) { return family_word(name) == family_word(word); });
  if (only_maker != same.end()) {
    return fmt::format(" (did you mean \"{}\"?)", *only_maker);
  }
  if (const auto nearest = nearest_word(normalised(word), same)) {
    return fmt::format(" (did you mean \"{}\"?)", *nearest);
  }
  constexpr std::size_t kMostListed = 20;
  std::vector<std::string> alike = family(word, known);
  const bool all = alike.empty() && known.size() <= kMostListed;
  if (all) {
    alike.assign(known.begin(), known.end());
  }
  std::string hint;
  if (!alike.empty()) {
    const bool cut = alike.size() > kMostListed;
    alike.resize(std::min(alike.size(), kMostListed));
    hint = fmt::format(
        "; known{}: {}{}", all ? "" : " of its family", fmt::join(alike, ", "), cut ? ", ..." : "");
  }
  return hint +
         "; for other hardware run vitsim calibrate, or write a data sheet "
         "(docs/formats/gpu-sheet.md) and name its folder in $VITSIM_PROFILES";
}

}  // namespace vitsim
