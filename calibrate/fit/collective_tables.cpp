#include "calibrate/fit/collective_tables.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "calibrate/fit/step_fit.h"
#include "models/distribution.h"

namespace vitsim {

namespace {

// Below this a call is mostly latency, and a bandwidth told from it would be a guess.
constexpr double kShowsBandwidth = 1024.0 * 1024;
constexpr double kUsualSpread = 0.05;
constexpr double kLeastSpread = 0.03;

struct Key {
  std::string link;
  std::string kind;
  std::int64_t ranks = 0;

  auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct Times {
  std::vector<double> out_of_place;
  std::vector<double> in_place;
};

std::string table_kind(MeasuredCollective kind) {
  std::string word(name(kind));
  std::ranges::replace(word, '_', '-');
  const bool known = std::ranges::find(kCollectiveTableKinds, word) != kCollectiveTableKinds.end();
  return known ? word : "";
}

std::map<Key, std::map<double, Times>> tables_of(const Measurement& measurement,
                                                 const FitOptions& options) {
  std::map<Key, std::map<double, Times>> tables;
  for (const Sample& sample : measurement.samples) {
    const auto* series = sample.as<CollectiveSeries>();
    // nccl-tests alone says whether a call was in place.
    if (series == nullptr || series->place.empty() || series->bytes <= 0 ||
        series->seconds.empty() || series->ranks.value_or(0) < 2 ||
        (!sample.run.empty() && std::ranges::count(options.leave_out, sample.run) > 0)) {
      continue;
    }
    const std::string kind = table_kind(series->kind);
    if (kind.empty()) {
      continue;
    }
    const std::string link = reduced_link(measurement, sample).name;
    Times& times = tables[{link, kind, *series->ranks}][static_cast<double>(series->bytes)];
    std::vector<double>& list = series->place == "in-place" ? times.in_place : times.out_of_place;
    const auto settled = sample.settled();
    list.insert(list.end(), settled.begin(), settled.end());
  }
  return tables;
}

// How many times the bytes of a call the busiest way carries, and in how many steps, by ring.
std::pair<double, double> ring_factors(const std::string& kind, double ranks) {
  if (kind == "all-reduce") {
    return {2 * (ranks - 1) / ranks, 2 * (ranks - 1)};
  }
  const bool whole = kind == "broadcast" || kind == "send-receive";
  return {whole ? 1 : (ranks - 1) / ranks, kind == "send-receive" ? 1 : ranks - 1};
}

// Latency and bandwidth from the table of the largest calls. One size alone is nearly all bandwidth
// where it can show one.
void add_figures(LinkProfile& profile, bool one_node) {
  const CollectiveTimes& largest = *std::ranges::max_element(
      profile.collectives, {}, [](const CollectiveTimes& times) { return times.most(); });
  const auto [share, steps] = ring_factors(largest.kind, static_cast<double>(largest.ranks));
  const double hops = one_node ? 1 : 2;
  const Seconds longest = largest.points.back().time;
  const bool is_wide = largest.points.size() == 1 && largest.most().value() >= kShowsBandwidth;
  const Seconds start = is_wide ? 0.1 * longest : largest.points.front().time;
  profile.latency = start / steps / hops;
  const double rest_s = std::max((longest - start).value(), 0.1 * longest.value());
  profile.bandwidth =
      BytesPerSecond(std::min(kMostBytesPerSecond, share * largest.most().value() / rest_s));
  profile.curve.clear();
}

// A single size does not tell latency from bandwidth: the fit may give all of it to the latency.
bool has_bandwidth(const LinkProfile& profile) {
  return profile.bandwidth.value() > 0 && profile.bandwidth.value() <= kMostBytesPerSecond;
}

}  // namespace

void fit_collective_tables(const Measurement& measurement,
                           const FitOptions& options,
                           Calibration& calibration) {
  std::map<std::string, bool> one_node;
  for (const Sample& sample : measurement.samples) {
    if (sample.as<CollectiveSeries>() != nullptr) {
      const ReducedLink link = reduced_link(measurement, sample);
      one_node.try_emplace(link.name, link.one_node);
    }
  }
  std::set<std::string> links;
  for (const auto& [key, sizes] : tables_of(measurement, options)) {
    CollectiveTimes table{.kind = key.kind, .ranks = key.ranks};
    for (const auto& [bytes, times] : sizes) {
      const auto& list = times.out_of_place.empty() ? times.in_place : times.out_of_place;
      const double seconds = median(list);
      if (seconds > 0) {
        table.points.push_back({.bytes = Bytes(bytes), .time = Seconds(seconds)});
      }
    }
    if (!table.points.empty()) {
      links.insert(key.link);
      calibration.links[key.link].name = key.link;
      calibration.links[key.link].collectives.push_back(std::move(table));
    }
  }
  for (const std::string& link : links) {
    LinkProfile& profile = calibration.links.at(link);
    if (!has_bandwidth(profile)) {
      add_figures(profile, one_node[link]);
      profile.provenance.sources.emplace_back("tables of collectives");
    }
    if (is_bandwidth_unknown(profile)) {
      calibration.notes.push_back(
          fmt::format("{}: nothing of 1 MiB or more was measured, so its bandwidth is not known; "
                      "predictions of larger calls say so and have a wide interval",
                      link));
    }
    if (is_latency_unknown(profile)) {
      calibration.notes.push_back(
          fmt::format("{}: a single size was measured, so its latency is not known; predictions of "
                      "other sizes say so and have a wide interval",
                      link));
    }
    // The median of calls in a row hides what differs from one run to the next.
    profile.spread.run_sigma =
        std::max(profile.spread.run_sigma.value_or(kUsualSpread), kLeastSpread);
  }
}

bool is_bandwidth_unknown(const LinkProfile& profile) {
  return !profile.collectives.empty() &&
         std::ranges::all_of(profile.collectives, [](const CollectiveTimes& times) {
           return times.most().value() < kShowsBandwidth;
         });
}

bool is_latency_unknown(const LinkProfile& profile) {
  return !profile.collectives.empty() &&
         std::ranges::all_of(profile.collectives,
                             [](const CollectiveTimes& times) { return times.points.size() == 1; });
}

}  // namespace vitsim
