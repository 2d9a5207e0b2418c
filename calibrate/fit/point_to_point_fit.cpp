// Who has the slow NIC? A message from a to b crosses both NICs, so its bandwidth is the lesser of
// the two, and its latency the sum:
//
//   B(a, b) = min(B_a, B_b)      L(a, b) = L_a + L_b
//
// B_a is at least the most that any pair with a reached, and nothing more is known of it: the
// fastest NIC of all is no faster than its fastest pair shows. Latencies are the least-squares
// solution; with n machines all seen in pairs that is, with S_a the sum of a's pairs and T of all,
// L_a = (S_a - T / (n - 1)) / (n - 2), and half each where there are only two.
//
// An AllReduce also adds what arrives. Its cost is in the network's fitted profile; relative to the
// slowest pair, which bounds a ring, it is the same share for every NIC.
#include "calibrate/fit/point_to_point_fit.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/distribution.h"

namespace vitsim {

namespace {

using Pair = std::pair<std::string, std::string>;

struct PairTimes {
  std::map<double, std::vector<double>> seconds_by_bytes;

  [[nodiscard]] double latency_s() const { return median(seconds_by_bytes.begin()->second); }

  [[nodiscard]] double bytes_per_s() const {
    const auto& [bytes, seconds] = *seconds_by_bytes.rbegin();
    return bytes / std::max(median(seconds) - latency_s(), 1e-12);
  }
};

// Pairs of machines by network; several ranks of two machines count as one pair.
std::map<std::string, std::map<Pair, PairTimes>> pairs_by_link(const Measurement& measurement) {
  std::map<std::string, std::map<Pair, PairTimes>> links;
  for (const Sample& sample : measurement.samples) {
    const auto* messages = sample.as<PointToPointSeries>();
    if (messages == nullptr || messages->one_node.value_or(false) || messages->seconds.empty() ||
        messages->from == messages->to) {
      continue;
    }
    Pair pair = {messages->from, messages->to};
    if (pair.second < pair.first) {
      std::swap(pair.first, pair.second);
    }
    const std::span<const double> settled = sample.settled();
    auto& seen = links[messages->link][pair].seconds_by_bytes[static_cast<double>(messages->bytes)];
    seen.insert(seen.end(), settled.begin(), settled.end());
  }
  for (auto& [link, pairs] : links) {
    std::erase_if(pairs, [](const auto& entry) {
      return entry.second.seconds_by_bytes.size() < 2;  // latency and bandwidth need two sizes
    });
  }
  return links;
}

std::map<std::string, double> latencies(const std::map<Pair, PairTimes>& pairs,
                                        const std::set<std::string>& machines) {
  std::map<std::string, double> sums;
  double total = 0;
  for (const auto& [pair, times] : pairs) {
    sums[pair.first] += times.latency_s();
    sums[pair.second] += times.latency_s();
    total += times.latency_s();
  }
  const auto n = static_cast<double>(machines.size());
  const bool complete = static_cast<double>(pairs.size()) == n * (n - 1) / 2;
  std::map<std::string, double> result;
  for (const std::string& machine : machines) {
    const double half = 0.5 * total / static_cast<double>(pairs.size());
    result[machine] =
        complete && n > 2 ? std::max(0.0, (sums[machine] - total / (n - 1)) / (n - 2)) : half;
  }
  return result;
}

}  // namespace

void fit_point_to_point(const Measurement& measurement,
                        const FitOptions& options,
                        Calibration& calibration) {
  for (const auto& [link, pairs] : pairs_by_link(measurement)) {
    std::set<std::string> machines;
    std::map<std::string, double> bandwidth;
    double slowest = 0;
    for (const auto& [pair, times] : pairs) {
      const double reached = times.bytes_per_s();
      slowest = slowest == 0 ? reached : std::min(slowest, reached);
      for (const std::string& machine : {pair.first, pair.second}) {
        machines.insert(machine);
        bandwidth[machine] = std::max(bandwidth[machine], reached);
      }
    }
    if (machines.size() < 2) {
      continue;
    }
    const auto whole = calibration.links.find(link);
    const bool reduced = whole != calibration.links.end();
    const double efficiency =
        reduced ? std::min(1.0, whole->second.bandwidth.value() / slowest) : 1;
    const auto latency = latencies(pairs, machines);
    for (const std::string& machine : machines) {
      std::string profile_name = link;
      profile_name += "-";
      profile_name += machine;
      LinkProfile profile{.name = std::move(profile_name),
                          .latency = Seconds(latency.at(machine)),
                          .bandwidth = BytesPerSecond(bandwidth.at(machine) * efficiency)};
      profile.provenance = {.sources = {"messages between pairs of " + link},
                            .tool = "vitsim calibrate fit",
                            .created = options.created};
      if (reduced) {
        profile.collective_overhead = whole->second.collective_overhead;
        profile.spread = whole->second.spread;
        // An AllReduce's message waits longer than a bare one: each rank naps between two looks.
        profile.latency = std::max(profile.latency, whole->second.latency);
      }
      calibration.links[profile.name] = std::move(profile);
    }
  }
}

}  // namespace vitsim
