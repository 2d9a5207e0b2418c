#include "sim/render/report_text.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "models/document/quantity_text.h"

namespace vitsim {

namespace {

std::string percent(double share) {
  return share > 0 && share < 0.001 ? "<0.1 %" : fmt::format("{:.1f} %", 100 * share);
}

std::string interval(const Quantiles& seconds) {
  if (!seconds.p05) {
    return "no interval: no spread is known";
  }
  if (*seconds.p05 == *seconds.p95) {
    return "exact: all spreads are zero";
  }
  return fmt::format("9 of 10 new runs: {} to {} (-{:.1f} %, +{:.1f} %)",
                     human(Seconds(*seconds.p05)),
                     human(Seconds(*seconds.p95)),
                     100 * (1 - *seconds.p05 / seconds.p50),
                     100 * (*seconds.p95 / seconds.p50 - 1));
}

std::string nodes_text(const Scenario& scenario) {
  std::size_t nodes = 0;
  const std::string* before = nullptr;
  for (const ScenarioRank& rank : scenario.ranks) {
    nodes += before == nullptr || *before != rank.node ? 1 : 0;
    before = &rank.node;
  }
  return fmt::format("{} GPU{} on {} node{}",
                     scenario.ranks.size(),
                     scenario.ranks.size() == 1 ? "" : "s",
                     nodes,
                     nodes == 1 ? "" : "s");
}

struct PhaseRow {
  const char* name;
  double seconds;
};

void append_phases(std::string& text, const Report& report) {
  const double step = report.step_s.p50;
  const PhaseRow rows[] = {
      {          "data load",           report.phases.data_load_s},
      {            "forward",             report.phases.forward_s},
      {           "backward",            report.phases.backward_s},
      {"gradient all-reduce", report.phases.gradient_all_reduce_s},
      {          "optimizer",           report.phases.optimizer_s},
      {              "other",               report.phases.other_s},
      { "waiting for others",                       report.wait_s}
  };
  text += "\nA full step, mean over ranks\n";
  for (const PhaseRow& row : rows) {
    const auto bar =
        static_cast<std::size_t>(std::clamp(std::lround(40 * row.seconds / step), 0L, 40L));
    text += fmt::format("  {:<20}{:>12}{:>9}{}{}\n",
                        row.name,
                        precise(row.seconds),
                        percent(row.seconds / step),
                        bar == 0 ? "" : "  ",
                        std::string(bar, '#'));
  }
  const double hidden = report.phases.gradient_all_reduce_s - report.exposed_communication_s;
  if (hidden > 1e-3 * step) {
    text += fmt::format("  of the all-reduce, {} run beside backward and cost nothing more\n",
                        precise(hidden));
  }
}

std::string memory_text(const RankMemory& memory) {
  const std::string used = fmt::format("{:.1f}", memory.total_bytes / (1 << 30));
  if (!memory.capacity_bytes) {
    return used + " GiB";
  }
  return fmt::format("{} of {:.1f} GiB{}",
                     used,
                     *memory.capacity_bytes / (1 << 30),
                     memory.fits ? "" : "  DOES NOT FIT");
}

void append_ranks(std::string& text, const Report& report) {
  constexpr std::size_t kMostRows = 32;
  text += fmt::format("\n  {:<5}{:<12}{:<20}{:>6}{:>12}{:>12}{:>9}{:>14}  {}\n",
                      "rank",
                      "node",
                      "GPU",
                      "batch",
                      "computes",
                      "waits",
                      "is last",
                      "epoch gains",
                      "memory (largest batch)");
  for (std::size_t i = 0; i < std::min(report.ranks.size(), kMostRows); ++i) {
    const RankReport& rank = report.ranks[i];
    text += fmt::format(
        "  {:<5}{:<12}{:<20}{:>6}{:>12}{:>12}{:>9}{:>14}  {}{}\n",
        rank.rank,
        rank.node,
        rank.gpu,
        rank.micro_batch,
        precise(rank.compute_s),
        precise(rank.wait_s),
        percent(rank.late_share),
        rank.gain_s > 0 ? human(Seconds(rank.gain_s)) : "-",
        memory_text(rank.memory),
        rank.largest_micro_batch ? fmt::format(" ({})", *rank.largest_micro_batch) : "");
  }
  if (report.ranks.size() > kMostRows) {
    text += fmt::format("  ... and {} more ranks: --json FILE has all\n",
                        report.ranks.size() - kMostRows);
  }
  text +=
      "  waits: for others, per step; is last: share of steps in which the others wait for it;\n"
      "  epoch gains: what an epoch would take less were it as fast as the median rank\n";
}

}  // namespace

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

std::string report_text(const Report& report, const Scenario& scenario) {
  const TrainingSpec& training = scenario.training;
  std::string text;
  for (const std::string& warning : report.warnings) {
    text += fmt::format("Note: {}\n", warning);
  }
  text +=
      fmt::format("{}{} ({:.1f} M parameters) in {}, {} samples per epoch, {}, {}, {} epoch{}\n",
                  text.empty() ? "" : "\n",
                  training.model.name,
                  static_cast<double>(parameter_count(training.model)) * 1e-6,
                  name(training.precision),
                  report.samples_per_epoch,
                  nodes_text(scenario),
                  name(training.gradient_sync),
                  training.epochs,
                  training.epochs == 1 ? "" : "s");
  text += fmt::format(
      "\n  epoch  {:<14}{}\n", human(Seconds(report.epoch_s.p50)), interval(report.epoch_s));
  text += fmt::format("  step   {:<14}{} steps per epoch, {:.1f} images/s\n",
                      precise(report.step_s.p50),
                      report.steps_per_epoch,
                      report.samples_per_s);
  text += fmt::format(
      "  run    {:<14}{}\n", human(Seconds(report.total_s.p50)), interval(report.total_s));
  append_phases(text, report);
  append_ranks(text, report);
  for (const EventCost& event : report.events) {
    text += fmt::format("\nEvent: {} costs the run {}", event.what, human(Seconds(event.cost_s)));
  }
  text += fmt::format("{}\nBottleneck: {}.\n\nWhere the figures come from\n",
                      report.events.empty() ? "" : "\n",
                      report.bottleneck);
  for (const Basis& basis : report.basis) {
    text += fmt::format(
        "  {}: {} - {}{}\n",
        basis.part,
        basis.kind,
        basis.detail,
        basis.error ? fmt::format(" (typical error {:.1f} %)", 100 * *basis.error) : "");
  }
  return text;
}

}  // namespace vitsim
