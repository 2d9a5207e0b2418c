#include "sim/render/report_text.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/document/quantity_text.h"

namespace vitsim {

namespace {

std::string percent(double share) {
  return share > 0 && share < 0.001 ? "<0.1 %" : fmt::format("{:.1f} %", 100 * share);
}

std::string interval(const Quantiles& seconds) {
  if (!seconds.p05 || *seconds.p05 == *seconds.p95) {
    return interval_text(seconds);
  }
  return fmt::format("90% prediction interval: {} (-{:.1f} %, +{:.1f} %)",
                     interval_text(seconds),
                     100 * (1 - *seconds.p05 / seconds.p50),
                     100 * (*seconds.p95 / seconds.p50 - 1));
}

std::string counted(std::size_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

void append_step(std::string& text, const Report& report, const TextStyle& style) {
  struct PhaseRow {
    std::string_view name;
    double seconds;
  };

  constexpr std::string_view kExposedCommunication = "exposed communication";
  constexpr std::string_view kStragglerWait = "straggler wait";
  const double step = report.step_s.p50;
  const PhaseRow rows[] = {{"data load", report.phases.data_load_s},
                           {"forward", report.phases.forward_s},
                           {"backward", report.phases.backward_s},
                           {"optimizer", report.phases.optimizer_s},
                           {"other", report.phases.other_s},
                           {kExposedCommunication, report.exposed_communication_s},
                           {kStragglerWait, report.wait_s}};
  text += "\nA full step, mean over ranks\n";
  for (const PhaseRow& row : rows) {
    const auto bar =
        static_cast<std::size_t>(std::clamp(std::lround(40 * row.seconds / step), 0L, 40L));
    text += fmt::format("  {:<26}{:>12}{:>9}{}{}\n",
                        row.name,
                        precise(row.seconds),
                        percent(row.seconds / step),
                        bar == 0 ? "" : "  ",
                        style(row.name == kStragglerWait          ? Ink::kBad
                              : row.name == kExposedCommunication ? Ink::kCaution
                                                                  : Ink::kPlain,
                              std::string(bar, '#')));
  }
  text += fmt::format("  {:<26}{:>12}{:>9}\n", "step", precise(step), "100.0 %");
  const double hidden = report.phases.communication_s() - report.exposed_communication_s;
  if (hidden > 1e-3 * step) {
    text += fmt::format("  {:<26}{:>12}           beside compute: it adds nothing to the step\n",
                        "overlapped communication",
                        precise(hidden));
  }
}

void append_communication(std::string& text, const Report& report) {
  constexpr std::size_t kMostRows = 12;
  const std::vector<CommunicationRow>& rows = report.communication;
  if (rows.size() > 1) {
    text += fmt::format("\n  {:<16}{:<22}{:<9}{:>9}{:>12}{:>12}{:>12}  {}\n",
                        "collective",
                        "phase",
                        "group",
                        "calls",
                        "size",
                        "busy",
                        "exposed",
                        "algorithm");
    for (std::size_t i = 0; i < std::min(rows.size(), kMostRows); ++i) {
      const CommunicationRow& row = rows[i];
      text += fmt::format("  {:<16}{:<22}{:<9}{:>9}{:>12}{:>12}{:>12}  {}\n",
                          row.collective,
                          row.phase,
                          row.group,
                          fmt::format("{:.4g}", row.calls),
                          human(Bytes(row.bytes)),
                          precise(row.busy_s),
                          precise(row.exposed_s),
                          row.algorithm);
    }
    text +=
        "  Communication of a step and rank; busy as if all joined at once; exposed: not hidden by "
        "compute\n";
  }
  for (const std::string& remark : report.remarks) {
    text += fmt::format("\n{}\n", remark);
  }
}

std::string memory_text(const RankMemory& memory, const std::optional<std::int64_t>& largest) {
  const std::string used = fmt::format("{:.1f}", memory.total_bytes / (1 << 30));
  if (!memory.capacity_bytes) {
    return used + " GiB";
  }
  if (!memory.fits) {
    return fmt::format("out of memory; largest micro-batch {}",
                       largest ? fmt::format("{}", *largest) : "0");
  }
  return fmt::format("{} of {:.1f} GiB{}",
                     used,
                     *memory.capacity_bytes / (1 << 30),
                     largest ? fmt::format(" ({})", *largest) : "");
}

// The run with what fails, and where its time goes.
void append_goodput(std::string& text, const Report& report) {
  if (!report.goodput) {
    return;
  }
  const Goodput& goodput = *report.goodput;
  text += fmt::format(
      "  with failures {:<11}{}\n", human(Seconds(goodput.total_s.p50)), interval(goodput.total_s));
  text += fmt::format(
      "         {:.1f} % of it is training; {:.3g} failure{} cost {} of lost work and {} of "
      "restarts\n",
      100 * goodput.effective_share,
      goodput.failures,
      goodput.failures == 1 ? "" : "s",
      human(Seconds(goodput.lost_s)),
      human(Seconds(goodput.restart_s)));
  if (goodput.checkpoint_every_steps > 0) {
    text += fmt::format("         a checkpoint every {} ({} steps), {} in all\n",
                        human(Seconds(goodput.checkpoint_every_s)),
                        goodput.checkpoint_every_steps,
                        human(Seconds(goodput.checkpoint_s)));
  }
}

// "0", "1 +2 alike".
std::string members(const RankClassReport& ranks) {
  return ranks.count == 1 ? fmt::format("{}", ranks.first_rank)
                          : fmt::format("{} +{}", ranks.first_rank, ranks.count - 1);
}

void append_classes(std::string& text, const Report& report, const TextStyle& style) {
  constexpr std::size_t kMostRows = 24;
  std::vector<const RankClassReport*> rows;
  for (const RankClassReport& ranks : report.rank_classes) {
    rows.push_back(&ranks);
  }
  if (rows.size() > kMostRows) {
    std::ranges::stable_sort(rows, std::ranges::greater(), [](const RankClassReport* ranks) {
      return ranks->compute_s;
    });
  }
  using Align = TextTable::Align;
  TextTable table({{"rank", Align::kLeft},
                   {"GPU", Align::kLeft},
                   {"micro-batch"},
                   {"compute"},
                   {"straggler wait"},
                   {"straggler in"},
                   {"epoch time saved"},
                   {"memory", Align::kLeft}});
  for (std::size_t i = 0; i < std::min(rows.size(), kMostRows); ++i) {
    const RankClassReport& ranks = *rows[i];
    table.add(
        {members(ranks),
         ranks.gpu,
         fmt::format("{}", ranks.micro_batch),
         precise(ranks.compute_s),
         precise(ranks.wait_s),
         percent(ranks.late_share),
         ranks.gain_s > 0 ? TextCell(human(Seconds(ranks.gain_s)), Ink::kCaution) : TextCell("-"),
         TextCell(memory_text(ranks.memory, ranks.largest_micro_batch),
                  ranks.memory.fits ? Ink::kPlain : Ink::kBad)});
  }
  text += "\nRanks\n" + table.text(style, 2);
  if (rows.size() > kMostRows) {
    text += fmt::format("  ... and {} faster classes of ranks: --json FILE has all\n",
                        rows.size() - kMostRows);
  }
  text +=
      "  rank: the first of its class, +n for n more that are alike. Compute and straggler wait: "
      "in\n"
      "  one step. Straggler in: share of steps. Epoch time saved: at the median rank's speed. "
      "Memory:\n"
      "  used of what the GPU has; in brackets the largest micro-batch that fits.\n";
}

void append_slowest(std::string& text, const Report& report) {
  constexpr std::size_t kMostNamed = 3;
  const bool classes_have_several = std::ranges::any_of(
      report.rank_classes, [](const RankClassReport& ranks) { return ranks.count > 1; });
  if (report.ranks.size() < 2 || !classes_have_several || report.rank_classes.size() < 2) {
    return;
  }
  std::vector<const RankReport*> ranks;
  for (const RankReport& rank : report.ranks) {
    ranks.push_back(&rank);
  }
  std::ranges::stable_sort(
      ranks, std::ranges::greater(), [](const RankReport* rank) { return rank->compute_s; });
  std::vector<std::string> named;
  for (std::size_t i = 0; i < std::min(ranks.size(), kMostNamed); ++i) {
    named.push_back(
        fmt::format("rank {} ({} on {})", ranks[i]->rank, ranks[i]->gpu, ranks[i]->node));
  }
  text += fmt::format("  slowest: {}\n", fmt::join(named, ", "));
}

}  // namespace

std::string interval_text(const Quantiles& seconds) {
  if (!seconds.p05) {
    return "no interval: no spread is known";
  }
  if (*seconds.p05 == *seconds.p95) {
    return "exact: all spreads are zero";
  }
  return fmt::format("{} to {}", human(Seconds(*seconds.p05)), human(Seconds(*seconds.p95)));
}

std::string relative_interval_text(const Quantiles& seconds) {
  return seconds.p05 ? fmt::format("{:+.0f} % to {:+.0f} %",
                                   100 * (*seconds.p05 / seconds.p50 - 1),
                                   100 * (*seconds.p95 / seconds.p50 - 1))
                     : "not known";
}

std::string cost_text(const RunCost& cost) {
  std::string text = fmt::format("{:.4g} GPU hours", cost.gpu_hours);
  if (cost.price) {
    text +=
        fmt::format(", {:.2f}{}{}", *cost.price, cost.currency.empty() ? "" : " ", cost.currency);
  }
  if (cost.energy_kwh) {
    text += fmt::format(", {:.3g} kWh", *cost.energy_kwh);
    if (cost.energy_spread > 0) {
      text += fmt::format(" +-{:.0f} %", 100 * cost.energy_spread);
    }
    text += fmt::format(", {:.3g} kg CO2e", *cost.co2e_kg);
  }
  return text;
}

std::string precise(double seconds) {
  if (seconds == 0) {
    return "0 s";
  }
  if (seconds >= 100) {
    return fmt::format("{:.1f} s", seconds);
  }
  if (seconds >= 1) {
    return fmt::format("{:.3f} s", seconds);
  }
  if (seconds >= 1e-3) {
    return fmt::format("{:.2f} ms", seconds * 1e3);
  }
  return fmt::format("{:.2f} us", seconds * 1e6);
}

std::string report_text(const Report& report, const ResolvedJob& job, const TextStyle& style) {
  const TrainingSpec& training = job.training;
  std::string text;
  for (const std::string& warning : report.warnings) {
    text += fmt::format("{} {}\n", style(Ink::kCaution, "Note:"), warning);
  }
  text += fmt::format("{}{} ({:.1f} M parameters) in {}, {} samples per epoch, {} on {}, {}, {}\n",
                      text.empty() ? "" : "\n",
                      training.model.name,
                      static_cast<double>(parameter_count(training.model)) * 1e-6,
                      name(training.precision),
                      report.samples_per_epoch,
                      counted(job.world_size(), "GPU"),
                      counted(job.group->nodes().size(), "node"),
                      name(training.gradient_sync),
                      counted(static_cast<std::size_t>(training.epochs), "epoch"));
  text +=
      fmt::format("\n  epoch  {}{}\n",
                  style(Ink::kStrong, fmt::format("{:<14}", human(Seconds(report.epoch_s.p50)))),
                  interval(report.epoch_s));
  text += fmt::format("  step   {:<14}{} steps per epoch, {:.1f} images/s\n",
                      precise(report.step_s.p50),
                      report.steps_per_epoch,
                      report.samples_per_s);
  text +=
      fmt::format("  run    {}{}\n",
                  style(Ink::kStrong, fmt::format("{:<14}", human(Seconds(report.total_s.p50)))),
                  interval(report.total_s));
  append_goodput(text, report);
  if (report.cost) {
    text += fmt::format("  cost   {}\n", cost_text(*report.cost));
  }
  text += fmt::format("\n{} {}.\n", style(Ink::kStrong, "Bottleneck:"), verdict_sentence(report));
  append_step(text, report, style);
  append_communication(text, report);
  append_classes(text, report, style);
  append_slowest(text, report);
  for (const DisturbanceCost& disturbance : report.disturbances) {
    text += fmt::format(
        "\nDisturbance: {} costs the run {}", disturbance.what, human(Seconds(disturbance.cost_s)));
  }
  text += fmt::format("{}\nWhere the figures come from\n", report.disturbances.empty() ? "" : "\n");
  for (const Basis& basis : report.basis) {
    text += fmt::format(
        "  {}: {} - {}{}\n",
        basis.part,
        basis.kind == "given" ? "as specified" : basis.kind,
        basis.detail,
        basis.error ? fmt::format(" (mean leave-one-out error {:.1f} %)", 100 * *basis.error) : "");
  }
  return text;
}

}  // namespace vitsim
