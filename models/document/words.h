#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vitsim {

/// The known word that a mistyped one most likely means, by edit distance; none if all are far.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> known);

/// ` (did you mean "rtx-3070"?)`, else `; known: a, b, c` if few are known, else nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

/// A word in quotes, shortened and with unprintable bytes escaped: fit for a message.
std::string in_quotes(std::string_view word);

/// The text with its control characters escaped, line ends and tabs apart: fit for a terminal.
std::string printable(std::string_view text);

/// "rank 3", "ranks 0-2", "ranks 1, 4" or, where they are many and scattered, "12 ranks". They
/// rise.
std::string rank_list(std::span<const std::int64_t> ranks);

/// Names of an enumeration, as the functions above take them.
std::vector<std::string> words(std::span<const std::string_view> names);

/// "1 rank", "2 ranks".
std::string counted(std::int64_t count, std::string_view noun);

}  // namespace vitsim
