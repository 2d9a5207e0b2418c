#include "calibrate/import/deepspeed_timers.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

namespace vitsim {

namespace {

/// Skips `text` past a figure as "%.2f" prints it and gives its value; none if it is cut.
std::optional<double> take_figure(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) {
    ++digits;
  }
  constexpr std::size_t kLongest = 12;  // 30 years
  if (digits == 0 || digits > kLongest || digits + 3 > text.size() || text[digits] != '.' ||
      std::isdigit(static_cast<unsigned char>(text[digits + 1])) == 0 ||
      std::isdigit(static_cast<unsigned char>(text[digits + 2])) == 0) {
    return std::nullopt;
  }
  double value = 0;
  std::from_chars(text.data(), text.data() + digits + 3, value);
  text.remove_prefix(digits + 3);
  return value;
}

/// The timers' names, new and old.
constexpr std::array<std::array<std::string_view, 2>, 5> kNames = {
    {{"fwd", "forward"},
     {"bwd", "backward"},
     {"bwd_inner", "backward_inner"},
     {"bwd_allreduce", "backward_allreduce"},
     {"step", "step"}}};

std::optional<std::size_t> index_of(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i][0] || name == kNames[i][1]) {
      return i;
    }
  }
  return std::nullopt;
}

}  // namespace

TimersFound read_deepspeed_timers(std::string_view text, DeepspeedTimerLine& line) {
  static constexpr std::string_view kMicroStep = "_microstep";
  std::array<std::optional<double>, 5> values;
  std::array<int, 2> kinds = {0, 0};
  int foreign = 0;
  bool cut = false;
  while (true) {
    while (text.starts_with(' ')) {
      text.remove_prefix(1);
    }
    std::size_t length = 0;
    while (length < text.size() &&
           ((text[length] >= 'a' && text[length] <= 'z') || text[length] == '_')) {
      ++length;
    }
    std::string_view name = text.substr(0, length);
    const bool micro_step = name.ends_with(kMicroStep);
    if (micro_step) {
      name.remove_suffix(kMicroStep.size());
    }
    text.remove_prefix(length);
    if (!text.starts_with(": ")) {
      cut = cut || length > 0 || text.empty();
      break;
    }
    text.remove_prefix(2);
    const std::optional<double> value = take_figure(text);
    if (!value) {
      cut = true;
      break;
    }
    if (const auto index = index_of(name)) {
      values[*index] = value;
      ++kinds[micro_step ? 1 : 0];
    } else {
      ++foreign;
    }
    if (!text.starts_with(" |")) {
      break;
    }
    text.remove_prefix(2);
  }
  const auto present = std::ranges::count_if(values, [](const auto& v) { return v.has_value(); });
  const bool mixed = kinds[0] > 0 && kinds[1] > 0;
  if (present < std::ssize(values) || mixed) {
    return !cut && (foreign > 0 || present == 0) ? TimersFound::kForeign : TimersFound::kMangled;
  }
  line = {.micro_step = kinds[1] > 0,
          .timers = {.forward = *values[0],
                     .backward = *values[1],
                     .backward_inner = *values[2],
                     .all_reduce = *values[3],
                     .step = *values[4]}};
  return TimersFound::kTimers;
}

}  // namespace vitsim
