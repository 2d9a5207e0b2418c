#include "sim/render/comparison_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "sim/render/report_text.h"

namespace vitsim {

double parse_share(std::string_view option, std::string_view text) {
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc() || !std::isfinite(percent) || percent < 0) {
    throw UserError(fmt::format("{}: {} is not a share: write e.g. 5%", option, in_quotes(text)));
  }
  if (rest != "%" && rest != " %") {
    throw UserError(
        fmt::format("{}: {} has no unit: append %, e.g. {}%", option, in_quotes(text), percent));
  }
  return percent / 100;
}

namespace {

std::string value_text(const ComparedFigure& figure, double value) {
  return figure.kind == ComparedFigure::Kind::kMemory ? human(Bytes(value)) : precise(value);
}

std::string difference_text(const ComparedFigure& figure) {
  return fmt::format("{:+.2f} %{}",
                     100 * figure.difference,
                     figure.kind == ComparedFigure::Kind::kPart ? " of a step" : "");
}

std::string remark(const ComparedFigure& figure, double tolerance) {
  std::string text;
  if (!figure.judged) {
    text = "not judged";
  } else if (std::abs(figure.difference) > tolerance) {
    text = "out of tolerance";
  }
  if (const auto inside = figure.inside()) {
    text += fmt::format("{}{} {} to {}",
                        text.empty() ? "" : ", ",
                        *inside ? "inside" : "outside",
                        precise(*figure.p05),
                        precise(*figure.p95));
  }
  return text;
}

// "2", "2 or 0", "2 or 7 others".
std::string named_text(const std::vector<std::size_t>& ranks) {
  switch (ranks.size()) {
    case 1:
      return fmt::format("{}", ranks[0]);
    case 2:
      return fmt::format("{} or {}", ranks[0], ranks[1]);
    default:
      return fmt::format("{} or {} others", ranks[0], ranks.size() - 1);
  }
}

std::string_view verdict_on_slowest(const Comparison& comparison) {
  const std::vector<std::size_t>& named = comparison.named_a;
  if (std::ranges::find(named, *comparison.slowest_b) != named.end()) {
    return named.size() == 1 ? "the same" : "one of these";
  }
  return comparison.slowest_agree.value_or(false) ? "of the same kind" : "not the same";
}

}  // namespace

std::string comparison_text(const Comparison& comparison,
                            std::string_view a,
                            std::string_view b,
                            double tolerance,
                            const TextStyle& style) {
  using Align = TextTable::Align;
  TextTable table({{"", Align::kLeft},
                   {std::string(a)},
                   {std::string(b)},
                   {"difference", Align::kLeft},
                   {"remark", Align::kLeft}});
  for (const ComparedFigure& figure : comparison.figures) {
    const bool far = figure.judged && std::abs(figure.difference) > tolerance;
    table.add({figure.name,
               value_text(figure, figure.a),
               value_text(figure, figure.b),
               TextCell(difference_text(figure), far ? Ink::kBad : Ink::kPlain),
               TextCell(remark(figure, tolerance), far ? Ink::kBad : Ink::kSoft)});
  }
  if (!comparison.named_a.empty() && comparison.slowest_b) {
    table.add({"slowest rank",
               named_text(comparison.named_a),
               fmt::format("{}", *comparison.slowest_b),
               std::string(verdict_on_slowest(comparison))});
  }
  std::string text = table.text(style);
  constexpr std::size_t kMostParameters = 12;
  for (std::size_t i = 0; i < std::min(comparison.parameters.size(), kMostParameters); ++i) {
    const DifferentParameter& parameter = comparison.parameters[i];
    text += fmt::format("{}{}: {} ({}), {} ({})\n",
                        i == 0 ? "Parameters that differ\n  " : "  ",
                        parameter.key,
                        parameter.a,
                        a,
                        parameter.b,
                        b);
  }
  if (comparison.parameters.size() > kMostParameters) {
    text += fmt::format("  and {} more (--json lists all)\n",
                        comparison.parameters.size() - kMostParameters);
  }
  for (const std::string& note : comparison.notes) {
    text += fmt::format("note: {}\n", note);
  }
  const auto far = comparison.beyond(tolerance);
  text += far.empty() ? fmt::format("All within {:.4g} %.\n", 100 * tolerance)
                      : fmt::format("{} of {} figures are more than {:.4g} % apart.\n",
                                    far.size(),
                                    comparison.figures.size(),
                                    100 * tolerance);
  return text;
}

}  // namespace vitsim
