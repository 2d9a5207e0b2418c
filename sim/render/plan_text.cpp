#include "sim/render/plan_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

std::string time_text(double seconds) {
  return human(Seconds(seconds));
}

// A shell takes brackets, braces and quotes as they are only inside single quotes.
std::string setting_text(const Override& change) {
  constexpr std::size_t kMostShown = 200;
  if (change.value.size() > kMostShown) {
    return fmt::format("--set '{}={}...' (--write FILE and --json FILE have all of it)",
                       change.key,
                       change.value.substr(0, 40));
  }
  const bool plain = change.value.find_first_of("[]{}\"' *?$") == std::string::npos;
  return plain ? fmt::format("--set {}={}", change.key, change.value)
               : fmt::format("--set '{}={}'", change.key, change.value);
}

std::string gain_text(double share) {
  return share >= 0 ? fmt::format("{:.1f} % less", 100 * share)
                    : fmt::format("{:.1f} % more", -100 * share);
}

void append_option(std::string& text, const PlanOption& option) {
  text += fmt::format(
      "     epoch {}, run {}", time_text(option.epoch_s.p50), time_text(option.total_s.p50));
  text += option.total_s.p05
              ? fmt::format(" (90% prediction interval: {})", interval_text(option.total_s))
              : std::string(" (no interval: no spread is known)");
  text += option.fits ? fmt::format("; memory fits{}",
                                    option.memory_share > 0
                                        ? fmt::format(" ({:.0f} % used)", 100 * option.memory_share)
                                        : "")
                      : std::string("; out of memory");
  text += "\n";
  if (option.cost) {
    text += fmt::format("     {}\n", cost_text(*option.cost));
  }
  if (option.goodput) {
    text += fmt::format("     {:.1f} % of the time is training; {:.3g} failures expected\n",
                        100 * option.goodput->effective_share,
                        option.goodput->failures);
  }
}

void append_steps(std::string& text, const char* title, const std::vector<PlanStep>& steps) {
  if (steps.empty()) {
    return;
  }
  text += fmt::format(
      "\n{:<42}{:>12}{:>12}{:>14}  {}\n", title, "epoch", "run", "run's time", "micro-batches");
  for (const PlanStep& step : steps) {
    if (!step.refusal.empty()) {
      text += fmt::format("  {:<40}  {}\n", step.what, step.refusal);
      continue;
    }
    const std::string accumulation =
        step.accumulation > 1 ? fmt::format(", {} accumulation steps", step.accumulation) : "";
    text += fmt::format("  {:<40}{:>12}{:>12}{:>14}  {}{}\n",
                        step.what,
                        time_text(step.epoch_s),
                        time_text(step.total_s),
                        gain_text(step.gain_share),
                        batches_text(step.micro_batch) + accumulation,
                        step.fits ? "" : " (out of memory)");
  }
}

std::string reasons(const SearchResult& search) {
  std::string text;
  std::vector<std::pair<std::int64_t, std::string>> sorted;
  std::int64_t refused = 0;
  for (const auto& [reason, count] : search.refused) {
    sorted.emplace_back(count, reason);
    refused += count;
  }
  if (refused == 0) {
    return text;
  }
  std::ranges::stable_sort(
      sorted, std::ranges::greater(), &std::pair<std::int64_t, std::string>::first);
  text = fmt::format("Not possible: {} ways or candidates\n", refused);
  constexpr std::size_t kMostReasons = 4;
  for (std::size_t i = 0; i < std::min(sorted.size(), kMostReasons); ++i) {
    text += fmt::format("  {}: {}\n", sorted[i].first, sorted[i].second);
  }
  if (sorted.size() > kMostReasons) {
    text += fmt::format("  ... and {} more reasons: --json FILE has all\n",
                        sorted.size() - kMostReasons);
  }
  return text;
}

}  // namespace

std::string plan_text(const Plan& plan, const PlanRequest& request) {
  std::string text = plan.headline + "\n";
  if (!plan.is_feasible) {
    text += plan.miss + "\n";
  }
  for (const std::string& note : plan.notes) {
    text += fmt::format("Note: {}\n", note);
  }
  text += "\nAs it stands\n";
  append_option(text, plan.base);
  text += fmt::format("\nBest found by {}\n",
                      kObjectiveNames[static_cast<std::size_t>(request.objective)]);
  if (plan.options.empty()) {
    text += "  nothing but the file as it stands\n";
  }
  for (std::size_t i = 0; i < plan.options.size(); ++i) {
    const PlanOption& option = plan.options[i];
    text += fmt::format(
        "  {}. {}: {}{}\n",
        i + 1,
        option.change,
        gain_text(option.gain_share),
        option.p_better ? fmt::format(", better in {:.0f} % of new runs", 100 * *option.p_better)
                        : "");
    append_option(text, option);
    text += "    ";
    for (const Override& change : option.set) {
      text += " " + setting_text(change);
    }
    text += "\n";
  }
  append_steps(text, "Without, the rest balanced", plan.without);
  append_steps(text, "With, balanced", plan.with);
  text += fmt::format("\nWhat limits the best: {}.\n", plan.limits_now);
  if (plan.next.empty()) {
    text +=
        "Beyond what a plan may change, no larger batch and no faster network would save more "
        "than 0.5 %.\n";
  } else {
    text += "Beyond what this plan may change, the next best would be:";
    for (std::size_t i = 0; i < plan.next.size(); ++i) {
      text += fmt::format("{} {} ({:.1f} % less)",
                          i == 0 ? "" : ";",
                          plan.next[i].change,
                          100 * plan.next[i].gain_share);
    }
    text += ".\n";
  }
  text +=
      fmt::format("\nSearched: {} candidates, {} predicted, {} cannot be better by their bound\n",
                  plan.search.candidates,
                  plan.search.predicted,
                  plan.search.bounded_away);
  text += reasons(plan.search);
  return text;
}

}  // namespace vitsim
