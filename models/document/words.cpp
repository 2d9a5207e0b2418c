#include "models/document/words.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vitsim {

namespace {

constexpr std::size_t kLongestWord = 80;

// Edit distance with transpositions of neighbours (optimal string alignment): a typing slip of any
// kind counts one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

// Letters and digits in lower case: "RTX 3070" and "rtx-3070" are the same word to a person.
std::string folded(std::string_view word) {
  std::string result;
  for (const char c : word) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return result;
}

bool is_subsequence(std::string_view part, std::string_view whole) {
  std::size_t found = 0;
  for (const char c : whole) {
    found += found < part.size() && part[found] == c ? 1 : 0;
  }
  return found == part.size();
}

}  // namespace

std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t kMostCandidates = 10'000;
  if (word.empty() || word.size() > kLongestWord || known.size() > kMostCandidates) {
    return std::nullopt;
  }
  const std::string wanted = folded(word);
  std::optional<std::string> nearest;
  std::size_t least = 0;
  for (const std::string& candidate : known) {
    const std::string other = folded(candidate);
    const std::size_t distance = edit_distance(wanted, other);
    // A part of a name ("3070"), or a long one with parts left out, points at it as a slip does.
    const bool is_part = (wanted.size() >= 3 && other.find(wanted) != std::string::npos) ||
                         (other.size() >= 3 && wanted.find(other) != std::string::npos) ||
                         (wanted.size() >= 8 && is_subsequence(wanted, other));
    const std::size_t allowed = std::max<std::size_t>(1, std::max(wanted.size(), other.size()) / 3);
    if (distance > allowed && !is_part) {
      continue;
    }
    if (!nearest || distance < least) {
      nearest = candidate;
      least = distance;
    }
  }
  return nearest;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  if (const auto nearest = nearest_word(word, known)) {
    return fmt::format(" (did you mean \"{}\"?)", *nearest);
  }
  constexpr std::size_t kMostListed = 40;
  if (known.empty() || known.size() > kMostListed) {
    return "";
  }
  return fmt::format("; known: {}", fmt::join(known, ", "));
}

std::string in_quotes(std::string_view word) {
  std::string result = "\"";
  for (const char c : word.substr(0, kLongestWord)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + (word.size() > kLongestWord ? "..." : "") + "\"";
}

std::string printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result;
}

std::string rank_list(std::span<const std::int64_t> ranks) {
  constexpr std::size_t kMostListed = 8;
  if (ranks.size() == 1) {
    return fmt::format("rank {}", ranks.front());
  }
  if (!ranks.empty() && ranks.back() - ranks.front() + 1 == std::ssize(ranks)) {
    return fmt::format("ranks {}-{}", ranks.front(), ranks.back());
  }
  return ranks.size() <= kMostListed ? fmt::format("ranks {}", fmt::join(ranks, ", "))
                                     : fmt::format("{} ranks", ranks.size());
}

std::vector<std::string> words(std::span<const std::string_view> names) {
  return {names.begin(), names.end()};
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace vitsim
