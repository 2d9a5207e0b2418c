// Who holds the others up.
//
// A step waits for its slowest rank, so speeding up one of several equally slow ranks gains
// nothing, and no rank's own gain shows what they cost together. Ranks that compute alike (same
// GPU, micro-batch and time) are therefore taken as a group. The yardstick is the median rank;
// where that one belongs to the slowest group, as where most GPUs are slow, the median of the
// others. All ranks slower than the yardstick could gain G, were they as fast. To blame is the
// smallest set of whole groups, the slowest first, that gains at least half of G: one straggler,
// two old GPUs, or an old kind and another that would take its place.
#include "sim/predict/bottleneck.h"

#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/distribution.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"

namespace vitsim {

namespace {

// Of an epoch: less is not worth a name.
constexpr double kLeastGain = 0.02;
// Of a step, mean over ranks: from here on waiting for what is the usual GPU here is worth one.
constexpr double kMuchWaiting = 0.05;
constexpr double kMuchCommunication = 0.2;
// Times that are sums of the same phases differ by rounding at most.
constexpr double kRounding = 1e-9;

using RankGroup = std::vector<std::int64_t>;

struct HoldUp {
  std::vector<RankGroup> groups;  // the slowest first
  double gain_s = 0;              // of an epoch, were all of them as fast as the yardstick
  double yardstick_s = 0;
  bool is_median = true;  // of all ranks, not of the others
};

// Ranks that compute alike, the slowest first.
std::vector<RankGroup> groups_by_compute(const std::vector<RankReport>& ranks) {
  std::map<std::tuple<double, std::string, std::int64_t>, RankGroup> groups;
  for (const RankReport& rank : ranks) {
    groups[{-rank.compute_s, rank.gpu, rank.micro_batch}].push_back(rank.rank);
  }
  std::vector<RankGroup> sorted;
  sorted.reserve(groups.size());
  for (auto& [key, group] : groups) {
    sorted.push_back(std::move(group));
  }
  return sorted;
}

std::optional<HoldUp> find_hold_up(const Report& report, const EpochSampler& sampler) {
  const auto compute = [&](std::int64_t rank) {
    return report.ranks[static_cast<std::size_t>(rank)].compute_s;
  };
  const std::vector<RankGroup> groups = groups_by_compute(report.ranks);
  const double slowest = compute(groups.front().front());
  std::vector<double> all;
  std::vector<double> others;
  for (const RankGroup& group : groups) {
    for (const std::int64_t rank : group) {
      all.push_back(compute(rank));
      if (&group != &groups.front()) {
        others.push_back(all.back());
      }
    }
  }
  HoldUp found{.yardstick_s = median(all)};
  found.is_median = slowest > found.yardstick_s * (1 + kRounding);
  if (!found.is_median) {
    if (others.empty() || report.wait_s < kMuchWaiting * report.step_s.p50) {
      return std::nullopt;
    }
    found.yardstick_s = median(others);
  }
  std::vector<double> factors(report.ranks.size(), 1.0);
  const auto speed_up = [&](const RankGroup& group) {
    for (const std::int64_t rank : group) {
      factors[static_cast<std::size_t>(rank)] = found.yardstick_s / compute(rank);
    }
  };
  const auto is_slow = [&](const RankGroup& group) {
    return compute(group.front()) > found.yardstick_s * (1 + kRounding);
  };
  for (const RankGroup& group : groups) {
    if (is_slow(group)) {
      speed_up(group);
    }
  }
  const double most = sampler.gain_s(factors);
  if (most <= kLeastGain * report.epoch_s.p50) {
    return std::nullopt;
  }
  factors.assign(factors.size(), 1.0);
  for (const RankGroup& group : groups) {
    speed_up(group);
    found.groups.push_back(group);
    found.gain_s = sampler.gain_s(factors);
    if (found.gain_s >= most / 2) {
      break;
    }
  }
  return found;
}

// "ranks 3 and 4 (gtx-1070)", with the node where it is one rank.
std::string who(const RankGroup& group, const std::vector<RankReport>& ranks) {
  const RankReport& first = ranks[static_cast<std::size_t>(group.front())];
  return group.size() == 1
             ? fmt::format("rank {} ({} on {})", first.rank, first.gpu, first.node)
             : fmt::format("{} ({})",
                           group.size() == 2 ? fmt::format("ranks {} and {}", group[0], group[1])
                                             : rank_list(group),
                           first.gpu);
}

// Ranks that are not named but may be the slowest.
RankGroup rivals(const HoldUp& found, const Report& report) {
  std::vector<bool> may_be_slowest(report.ranks.size());
  for (const std::size_t rank : likely_slowest(report)) {
    may_be_slowest[rank] = true;
  }
  for (const RankGroup& group : found.groups) {
    for (const std::int64_t rank : group) {
      may_be_slowest[static_cast<std::size_t>(rank)] = false;
    }
  }
  RankGroup rivals;
  for (std::size_t rank = 0; rank < may_be_slowest.size(); ++rank) {
    if (may_be_slowest[rank]) {
      rivals.push_back(static_cast<std::int64_t>(rank));
    }
  }
  return rivals;
}

std::string describe(const HoldUp& found, const Report& report) {
  const auto compute = [&](const RankGroup& group) {
    return human(Seconds(report.ranks[static_cast<std::size_t>(group.front())].compute_s));
  };
  const bool one = found.groups.size() == 1 && found.groups.front().size() == 1;
  std::vector<std::string> names;
  for (const RankGroup& group : found.groups) {
    names.push_back(who(group, report.ranks));
  }
  const std::string slowest = compute(found.groups.front());
  const std::string fastest = compute(found.groups.back());
  const RankGroup others = rivals(found, report);
  std::string sentence = fmt::format(
      "{} {} the others up: {} {} of each {} step, the median {} {}; were {} as fast, an epoch "
      "would take {} less ({:.0f} %)",
      fmt::join(names, ", "),
      one ? "holds" : "hold",
      one ? "it computes" : "they compute",
      slowest == fastest ? slowest : fmt::format("{} to {}", fastest, slowest),
      human(Seconds(report.step_s.p50)),
      found.is_median ? "rank" : "of the others",
      human(Seconds(found.yardstick_s)),
      one ? "it" : "they",
      human(Seconds(found.gain_s)),
      100 * found.gain_s / report.epoch_s.p50);
  if (!others.empty()) {
    sentence += fmt::format(". Among new runs {} may be slower still", rank_list(others));
  }
  return sentence;
}

std::string slow_part(const Scenario& scenario, const Report& report, const EpochSampler* sampler) {
  if (sampler != nullptr) {
    if (const auto found = find_hold_up(report, *sampler)) {
      return describe(*found, report);
    }
  }
  const std::string step = human(Seconds(report.step_s.p50));
  const double exposed = report.exposed_communication_s / report.step_s.p50;
  if (exposed > kMuchCommunication) {
    return fmt::format(
        "communication: {} of each {} step ({:.0f} %) is {} that compute does not hide",
        human(Seconds(report.exposed_communication_s)),
        step,
        100 * exposed,
        name(scenario.training.all_reduce));
  }
  const double waiting = report.wait_s / report.step_s.p50;
  return fmt::format(
      "compute: {:.0f} % of each {} step; {}communication that it does not hide takes {:.0f} %",
      100 * (1 - exposed - waiting),
      step,
      waiting < 0.005 ? ""
                      : fmt::format("waiting for slower ranks takes {:.0f} %, ", 100 * waiting),
      100 * exposed);
}

}  // namespace

std::string bottleneck(const Scenario& scenario,
                       const Report& report,
                       const EpochSampler* sampler) {
  std::string slow = slow_part(scenario, report, sampler);
  for (const RankReport& rank : report.ranks) {
    if (!rank.memory.fits) {
      return fmt::format(
                 "rank {} ({}) runs out of memory: it needs {} of {}; the largest "
                 "micro-batch that fits is {}",
                 rank.rank,
                 rank.gpu,
                 human(Bytes(rank.memory.total_bytes)),
                 human(Bytes(*rank.memory.capacity_bytes)),
                 rank.largest_micro_batch ? fmt::format("{}", *rank.largest_micro_batch) : "none") +
             ". " + slow;
    }
  }
  return slow;
}

}  // namespace vitsim
