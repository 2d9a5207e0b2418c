#include "models/experiment/failures_reader.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "models/document/words.h"

namespace vitsim {

namespace {

constexpr Seconds kLongestBetween{1e12};
constexpr Seconds kLongestRestart{1e8};
constexpr Range kPrice{.least = 0, .most = 1e9};
constexpr Watts kMostPower{1e6};

void read_power(const Field& field, PriceSpec& prices) {
  ObjectReader object(field);
  for (const Field& member : object.unknown()) {
    if (const auto watts = member.watts(Watts(0), kMostPower)) {
      prices.power[member.path().substr(field.path().size() + 1)] = *watts;
    }
  }
}

// What `prices` may hold beside GPUs, and the file beside `prices`.
void read_rates(ObjectReader& object, PriceSpec& prices, std::set<std::string>& seen) {
  for (const char* key : {"currency", "power", "pue", "g_co2e_per_kwh"}) {
    const auto field = object.find(key);
    if (field && !seen.insert(key).second) {
      field->problem("is given beside \"prices\" already: keep one of the two");
    }
  }
  object.read("currency", prices.currency);
  if (const auto power = object.find("power")) {
    read_power(*power, prices);
  }
  object.read("pue", prices.pue, {.least = 1, .most = 100});
  object.read("g_co2e_per_kwh", prices.g_co2e_per_kwh, {.least = 0, .most = 1e6});
}

}  // namespace

std::optional<FailureSpec> read_failures(const Field& field) {
  FailureSpec failures;
  ObjectReader object(field);
  const auto between = object.require("mean_time_between");
  const auto mean = between ? between->seconds(Seconds(1e-3), kLongestBetween) : std::nullopt;
  object.read("per", failures.per, kFailureUnitNames);
  if (const auto restart = object.find("restart")) {
    failures.restart = restart->seconds(Seconds(0), kLongestRestart).value_or(Seconds(0));
  }
  object.read("on_failure", failures.on_failure, kOnFailureNames);
  object.finish();
  if (!mean) {
    return std::nullopt;
  }
  failures.mean_time_between = *mean;
  return failures;
}

PriceSpec read_prices(ObjectReader& root, const ClusterSpec& cluster) {
  PriceSpec prices;
  std::set<std::string> seen;
  read_rates(root, prices, seen);
  const auto field = root.find("prices");
  if (!field) {
    return prices;
  }
  ObjectReader object(*field);
  read_rates(object, prices, seen);
  std::vector<std::string> named;
  for (const Field& member : object.unknown()) {
    named.push_back(member.path().substr(field->path().size() + 1));
    if (const auto price = member.number(kPrice)) {
      prices.per_gpu_hour[named.back()] = *price;
    }
  }
  if (named.empty()) {
    return prices;
  }
  std::set<std::string> lacking;
  for (const NodeSpec& node : cluster.nodes) {
    for (const GpuSpec& gpu : node.gpus) {
      if (!gpu.model.empty() && std::ranges::find(named, gpu.model) == named.end()) {
        lacking.insert(gpu.model);
      }
    }
  }
  for (const std::string& gpu : lacking) {
    field->problem(fmt::format("has no price of {}, which the cluster uses: add {}: PRICE{}",
                               in_quotes(gpu),
                               in_quotes(gpu),
                               did_you_mean(gpu, named)));
  }
  return prices;
}

}  // namespace vitsim
