#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/document/quantity_text.h"
#include "models/report/report.h"

namespace vitsim {

namespace {

// "ranks 3 and 4 (gtx-1070)", with the node where it is one rank.
std::string who(const StragglerGroup& group) {
  return group.ranks.count() == 1
             ? fmt::format("{} ({} on {})", text(group.ranks), group.gpu, group.node)
             : fmt::format("{} ({})", text(group.ranks), group.gpu);
}

std::string straggler_sentence(const Report& report) {
  const Verdict& verdict = report.verdict;
  const std::vector<StragglerGroup>& groups = verdict.stragglers;
  const bool one = groups.size() == 1 && groups.front().ranks.count() == 1;
  std::vector<std::string> names;
  names.reserve(groups.size());
  for (const StragglerGroup& group : groups) {
    names.push_back(who(group));
  }
  const std::string slowest = human(Seconds(groups.front().compute_s));
  const std::string fastest = human(Seconds(groups.back().compute_s));
  const double epoch_s = report.epoch_s.p50 > 0
                             ? report.epoch_s.p50
                             : report.step_s.p50 * static_cast<double>(report.steps_per_epoch);
  const char* reference =
      verdict.reference_is_median ? "the median rank" : "the median of the other ranks";
  std::string sentence = fmt::format(
      "{} {}: {} {} of each {} step, {} {}. At that speed an epoch would take {} less ({:.0f} %)",
      fmt::join(names, ", "),
      one ? "is the straggler" : "are the stragglers",
      one ? "it computes for" : "they compute for",
      slowest == fastest ? slowest : fmt::format("{} to {}", fastest, slowest),
      human(Seconds(report.step_s.p50)),
      reference,
      human(Seconds(verdict.reference_s)),
      human(Seconds(verdict.gain_s)),
      100 * verdict.gain_s / epoch_s);
  if (!verdict.other_candidates.empty()) {
    sentence +=
        fmt::format(". In a new run {} may be slower still", text(verdict.other_candidates));
  }
  return sentence;
}

std::string limit_sentence(const Report& report) {
  const double step_s = report.step_s.p50;
  const std::string step = human(Seconds(step_s));
  switch (report.verdict.limit) {
    case Verdict::Limit::kStraggler:
      return straggler_sentence(report);
    case Verdict::Limit::kDataLoading:
      return fmt::format(
          "data loading: compute waits {} of each {} step for images ({:.0f} %); more loader "
          "workers or a faster disk may help",
          human(Seconds(report.phases.data_load_s)),
          step,
          100 * report.phases.data_load_s / step_s);
    case Verdict::Limit::kCommunication:
      return fmt::format("communication: {} of each {} step is exposed communication ({:.0f} %)",
                         human(Seconds(report.exposed_communication_s)),
                         step,
                         100 * report.exposed_communication_s / step_s);
    case Verdict::Limit::kCompute:
      return fmt::format(
          "compute: of each {} step, straggler wait takes {:.0f} % and exposed communication "
          "{:.0f} %",
          step,
          100 * report.wait_s / step_s,
          100 * report.exposed_communication_s / step_s);
    case Verdict::Limit::kNotKnown:
      break;
  }
  return "unknown: no full step after warm-up was recorded";
}

}  // namespace

std::string verdict_sentence(const Report& report) {
  std::string sentence;
  for (const RankClassReport& ranks : report.rank_classes) {
    if (ranks.memory.fits) {
      continue;
    }
    const std::string who =
        ranks.count == 1
            ? fmt::format("rank {} ({})", ranks.first_rank, ranks.gpu)
            : fmt::format(
                  "{} ranks ({}, rank {} the first)", ranks.count, ranks.gpu, ranks.first_rank);
    sentence += fmt::format(
        "{} {} out of memory: {} {} of {}; {}. ",
        who,
        ranks.count == 1 ? "is" : "are",
        ranks.count == 1 ? "it needs" : "each needs",
        human(Bytes(ranks.memory.total_bytes)),
        human(Bytes(ranks.memory.capacity_bytes.value_or(0))),
        ranks.largest_micro_batch
            ? fmt::format("the largest micro-batch that fits is {}", *ranks.largest_micro_batch)
            : std::string("not even one sample fits"));
  }
  return sentence + limit_sentence(report);
}

}  // namespace vitsim
