#include <algorithm>
#include <cmath>
#include <deque>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "sim/collective/communicator.h"
#include "sim/engine/flow_engine.h"
#include "sim/step/step_executor.h"
#include "tests/support/oracle.h"
#include "tests/support/planned_step.h"

namespace vitsim::testing {

namespace {

using Json = nlohmann::json;

void check_keys(const Json& object, const std::set<std::string>& known, const std::string& where) {
  if (!object.is_object()) {
    throw UserError(where + ": an object is needed");
  }
  for (const auto& [key, value] : object.items()) {
    if (known.count(key) == 0) {
      throw UserError(fmt::format("{}: unknown key \"{}\"", where, key));
    }
  }
}

const Json& member(const Json& object, const std::string& key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) {
    throw UserError(fmt::format("{}: \"{}\" is missing", where, key));
  }
  return *found;
}

double number(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_number()) {
    throw UserError(fmt::format("{}: \"{}\" must be a number", where, key));
  }
  return value.get<double>();
}

std::int64_t count(const Json& object, const std::string& key, const std::string& where) {
  const double value = number(object, key, where);
  constexpr double kMost = 1e15;
  if (!(value >= 0 && value <= kMost && value == std::floor(value))) {
    throw UserError(fmt::format("{}: \"{}\" must be a whole number from 0", where, key));
  }
  return static_cast<std::int64_t>(value);
}

std::string text(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) {
    throw UserError(fmt::format("{}: \"{}\" must be a string", where, key));
  }
  return value.get<std::string>();
}

const Json& list(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_array()) {
    throw UserError(fmt::format("{}: \"{}\" must be a list", where, key));
  }
  return value;
}

/// One number for all, or one each.
std::vector<double> numbers(const Json& object,
                            const std::string& key,
                            std::size_t size,
                            const std::string& where) {
  const Json& value = member(object, key, where);
  if (value.is_number()) {
    return std::vector<double>(size, value.get<double>());
  }
  if (!value.is_array() || value.size() != size ||
      !std::all_of(value.begin(), value.end(), [](const Json& x) { return x.is_number(); })) {
    throw UserError(fmt::format("{}: \"{}\" must be a number or {} numbers", where, key, size));
  }
  return value.get<std::vector<double>>();
}

LinkData link_of(const Json& object, const std::string& where) {
  return {.latency = Seconds(number(object, "latency_s", where)),
          .bandwidth = BytesPerSecond(number(object, "bandwidth_bytes_per_s", where))};
}

/// Hosts on one switch.
NetworkData star_of(const Json& star, const std::string& where) {
  check_keys(star, {"hosts", "bandwidth_bytes_per_s", "latency_s"}, where);
  constexpr std::int64_t kMostHosts = 10'000'000;
  const std::int64_t hosts = count(star, "hosts", where);
  if (hosts < 1 || hosts > kMostHosts) {
    throw UserError(fmt::format("{}: {} hosts; 1 to {} are possible", where, hosts, kMostHosts));
  }
  const auto size = static_cast<std::size_t>(hosts);
  const std::vector<double> bandwidth = numbers(star, "bandwidth_bytes_per_s", size, where);
  const std::vector<double> latency = numbers(star, "latency_s", size, where);
  NetworkData data;
  for (std::size_t i = 0; i < size; ++i) {
    const LinkData nic{.latency = Seconds(latency[i]), .bandwidth = BytesPerSecond(bandwidth[i])};
    data.nodes.push_back({.name = fmt::format("host {}", i), .nic = nic, .intra_node = nic});
  }
  return data;
}

/// Hosts on switches with trunks between them; a host may have several GPUs.
NetworkData switched_of(const Json& network, const std::string& where) {
  check_keys(network, {"switches", "links", "hosts"}, where);
  NetworkData data;
  for (const Json& name : list(network, "switches", where)) {
    if (!name.is_string()) {
      throw UserError(where + ": \"switches\" must be names");
    }
    data.switches.push_back(name.get<std::string>());
  }
  const Json none = Json::array();
  for (const Json& trunk : network.contains("links") ? list(network, "links", where) : none) {
    check_keys(trunk, {"ends", "bandwidth_bytes_per_s", "latency_s"}, where + " link");
    const Json& ends = list(trunk, "ends", where);
    if (ends.size() != 2 || !ends[0].is_string() || !ends[1].is_string()) {
      throw UserError(where + ": \"ends\" must be two names");
    }
    data.trunks.push_back({.a = ends[0], .b = ends[1], .link = link_of(trunk, where + " link")});
  }
  for (const Json& host : list(network, "hosts", where)) {
    const std::string name = fmt::format("host {}", data.nodes.size());
    check_keys(host,
               {"switch", "bandwidth_bytes_per_s", "latency_s", "gpus", "intra_node"},
               where + " " + name);
    NodeData node{.name = name,
                  .nic = link_of(host, where + " " + name),
                  .switch_name = text(host, "switch", where + " " + name)};
    node.intra_node = host.contains("intra_node") ? link_of(host["intra_node"], where) : *node.nic;
    node.gpus = host.contains("gpus") ? count(host, "gpus", where) : 1;
    data.nodes.push_back(node);
  }
  return data;
}

/// One ring AllReduce of a case.
struct Ring {
  std::vector<std::int64_t> hosts;
  std::int64_t bytes = 0;
  std::vector<Tick> starts;
};

Ring ring_of(const Json& json, const std::string& where) {
  check_keys(json, {"hosts", "bytes", "start_s", "name"}, where);
  Ring ring{.bytes = count(json, "bytes", where)};
  const Json& hosts = member(json, "hosts", where);
  if (hosts.is_array()) {
    for (const Json& host : hosts) {
      if (!host.is_number_integer()) {
        throw UserError(where + ": \"hosts\" must be a number or a list of host numbers");
      }
      ring.hosts.push_back(host.get<std::int64_t>());
    }
  } else {
    const std::int64_t size = count(json, "hosts", where);
    for (std::int64_t i = 0; i < size; ++i) {
      ring.hosts.push_back(i);
    }
  }
  if (json.contains("start_s")) {
    for (const double start : numbers(json, "start_s", ring.hosts.size(), where)) {
      ring.starts.push_back(to_ticks(Seconds(start)));
    }
  }
  ring.starts.resize(ring.hosts.size());
  return ring;
}

/// One flow of a case.
struct Flow {
  std::string name;
  std::vector<LinkId> path;
  std::int64_t bytes = 0;
  Tick start = 0;
};

/// Everything of one case on one engine: rings and flows, each beginning at its time.
class Stage final : public EventHandler, public CollectiveListener {
 public:
  Stage(const LinkTable& links, const std::vector<Flow>& flows) : engine_(links), flows_(flows) {
    handler_ = engine_.add_handler(*this);
    flow_ends.resize(flows.size());
    for (std::size_t i = 0; i < flows.size(); ++i) {
      streams_.push_back(engine_.add_stream(flows[i].path));
      due(flows[i].start, [this, i] {
        engine_.send(streams_[i], flows_[i].bytes, handler_, static_cast<std::uint32_t>(2 * i + 1));
      });
    }
  }

  void add(const Communicator& group, const Ring& ring) {
    auto& set = sets_.emplace_back(engine_, group.network(), group.ranks());
    const auto index = static_cast<std::uint32_t>(rings_.size());
    rings_.push_back(
        group.events(set, CollectiveKind::kAllReduce, Algorithm::kRing, ring.bytes, *this, index));
    ring_ends.emplace_back(ring.hosts.size());
    for (std::uint32_t i = 0; i < ring.starts.size(); ++i) {
      due(ring.starts[i], [collective = rings_.back().get(), i] { collective->start(i); });
    }
  }

  void run() { engine_.run(); }

  void on_event(std::uint32_t tag) override {
    if (tag % 2 == 1) {
      flow_ends[tag / 2] = engine_.now();
    } else {
      due_[tag / 2]();
    }
  }

  void collective_done(std::uint32_t collective, std::uint32_t position) override {
    ring_ends[collective][position] = engine_.now();
  }

  std::vector<std::vector<Tick>> ring_ends;
  std::vector<Tick> flow_ends;

 private:
  void due(Tick time, std::function<void()> action) {
    engine_.at(time, handler_, static_cast<std::uint32_t>(2 * due_.size()));
    due_.push_back(std::move(action));
  }

  FlowEngine engine_;
  const std::vector<Flow>& flows_;
  HandlerId handler_ = 0;
  std::vector<StreamId> streams_;
  std::deque<StreamSet> sets_;
  std::vector<std::unique_ptr<EventCollective>> rings_;
  std::vector<std::function<void()>> due_;
};

/// What a case came to.
struct Result {
  std::vector<std::vector<Tick>> rings;
  std::map<std::string, Tick> flows;
  std::optional<Tick> end;
  bool is_step = false;
};

std::vector<Flow> flows_of(const Json& the_case,
                           const std::map<std::string, LinkId>& links,
                           const Network* network,
                           const std::string& where) {
  std::vector<Flow> flows;
  if (!the_case.contains("flows")) {
    return flows;
  }
  for (const Json& json : list(the_case, "flows", where)) {
    check_keys(json, {"name", "path", "from", "to", "bytes", "start_s"}, where + " flow");
    Flow flow{.name = json.contains("name") ? text(json, "name", where)
                                            : fmt::format("flow {}", flows.size()),
              .bytes = count(json, "bytes", where + " flow")};
    const std::string here = fmt::format("{} flow \"{}\"", where, flow.name);
    if (json.contains("start_s")) {
      flow.start = to_ticks(Seconds(number(json, "start_s", here)));
    }
    if (network != nullptr) {
      const std::int64_t from = count(json, "from", here);
      const std::int64_t to = count(json, "to", here);
      network->append_route(from, to, flow.path);
    } else {
      for (const Json& name : list(json, "path", here)) {
        const auto found = name.is_string() ? links.find(name.get<std::string>()) : links.end();
        if (found == links.end()) {
          throw UserError(fmt::format("{}: no link {}", here, name.dump()));
        }
        flow.path.push_back(found->second);
      }
    }
    if (flow.path.empty()) {
      throw UserError(here + ": the path has no link");
    }
    flows.push_back(std::move(flow));
  }
  return flows;
}

Result run_stage(const LinkTable& links,
                 const std::vector<Flow>& flows,
                 const std::vector<Ring>& rings,
                 const Network* network) {
  Result result;
  std::deque<Communicator> groups;
  for (const Ring& ring : rings) {
    groups.emplace_back(*network, ring.hosts);
  }
  if (rings.size() == 1 && flows.empty()) {
    result.rings.push_back(groups[0].run(
        CollectiveKind::kAllReduce, Algorithm::kRing, rings[0].bytes, rings[0].starts));
    return result;
  }
  Stage stage(links, flows);
  for (std::size_t i = 0; i < rings.size(); ++i) {
    stage.add(groups[i], rings[i]);
  }
  stage.run();
  result.rings = std::move(stage.ring_ends);
  for (std::size_t i = 0; i < flows.size(); ++i) {
    result.flows[flows[i].name] = stage.flow_ends[i];
  }
  return result;
}

Result run_network_case(const Json& the_case, const std::string& where) {
  check_keys(the_case, {"name", "what", "network", "rings", "flows", "expect", "source"}, where);
  const Json& network = member(the_case, "network", where);
  if (!network.is_object()) {
    throw UserError(where + ": \"network\" must be an object");
  }
  const bool has_rings = the_case.contains("rings");
  if (!network.contains("star") && !network.contains("hosts")) {
    check_keys(network, {"links"}, where + " network");
    if (has_rings) {
      throw UserError(where + ": rings need hosts, not bare links");
    }
    LinkTable table;
    std::map<std::string, LinkId> names;
    for (const Json& link : list(network, "links", where)) {
      check_keys(link, {"name", "bandwidth_bytes_per_s", "latency_s"}, where + " link");
      const std::string name = text(link, "name", where + " link");
      if (!names.emplace(name, table.add(link_of(link, where), where + " link " + name)).second) {
        throw UserError(fmt::format("{}: two links \"{}\"", where, name));
      }
    }
    return run_stage(table, flows_of(the_case, names, nullptr, where), {}, nullptr);
  }
  const Network built(network.contains("star") ? star_of(network["star"], where + " star")
                                               : switched_of(network, where + " network"));
  std::vector<Ring> rings;
  for (const Json& ring : has_rings ? list(the_case, "rings", where) : Json::array()) {
    rings.push_back(ring_of(ring, fmt::format("{} ring {}", where, rings.size())));
  }
  return run_stage(built.links(), flows_of(the_case, {}, &built, where), rings, &built);
}

NetworkData equal_star(std::int64_t hosts, double bytes_per_s, double latency_s) {
  Json star = {{"hosts", hosts}, {"bandwidth_bytes_per_s", bytes_per_s}, {"latency_s", latency_s}};
  return star_of(star, "star");
}

std::vector<std::int64_t> first_ranks(std::int64_t n) {
  std::vector<std::int64_t> ranks;
  for (std::int64_t i = 0; i < n; ++i) {
    ranks.push_back(i);
  }
  return ranks;
}

Result run_straggler_case(const Json& the_case, const std::string& where) {
  check_keys(the_case, {"name", "what", "ranks", "compute", "expect", "source"}, where);
  const std::string compute = text(the_case, "compute", where);
  if (compute != "fixed" && compute != "vary") {
    throw UserError(where + ": \"compute\" must be \"fixed\" or \"vary\"");
  }
  const std::int64_t n = count(the_case, "ranks", where);
  const Network network(equal_star(n, 1.25e9, 5e-5));
  SyncPlan plan{.mode = GradientSync::kDeepspeedZero0, .buckets = {{.bytes = 346'270'624}}};
  PlannedStep step(network, first_ranks(n), plan);
  std::vector<MicroBatchTicks> batches(static_cast<std::size_t>(n));
  std::vector<RankTicks> work(batches.size());
  std::vector<Tick> now(batches.size());
  for (std::int64_t iteration = 0; iteration < 50; ++iteration) {
    for (std::int64_t rank = 0; rank < n; ++rank) {
      const auto i = static_cast<std::size_t>(rank);
      const std::int64_t late = 7 * rank + (compute == "vary" ? 5 * iteration : 0);
      batches[i].forward = (200 + 20 * (late % 11)) * 1'000'000'000;
      work[i].micro_batches = std::span(&batches[i], 1);
    }
    now = step.run(work, now).end;
  }
  return {.end = *std::max_element(now.begin(), now.end())};
}

Result run_overlapped_case(const Json& the_case, const std::string& where) {
  check_keys(the_case, {"name", "what", "ranks", "expect", "source"}, where);
  const std::int64_t n = count(the_case, "ranks", where);
  const Network network(equal_star(n, 12.5e9, 2.5e-6));
  SyncPlan plan{.mode = GradientSync::kDdp};
  constexpr int kBuckets = 14;
  for (int k = 1; k <= kBuckets; ++k) {
    plan.buckets.push_back({.bytes = 24'740'000, .ready_share = static_cast<double>(k) / kBuckets});
  }
  PlannedStep step(network, first_ranks(n), plan);
  const MicroBatchTicks batch{.forward = 12 * to_ticks(milliseconds(2.5)),
                              .backward = kBuckets * to_ticks(milliseconds(4.3))};
  const std::vector<RankTicks> work(
      static_cast<std::size_t>(n),
      {.micro_batches = std::span(&batch, 1), .optimizer = to_ticks(milliseconds(3))});
  const std::vector<Tick> starts(work.size());
  const std::vector<Tick>& ends = step.run(work, starts).end;
  return {.end = *std::max_element(ends.begin(), ends.end()), .is_step = true};
}

/// Equal to the tick where ticks are given; else within 1e-9 relative or a nanosecond, the last
/// decimal that the sources print.
bool same_seconds(double expected_s, Tick got) {
  const double got_s = to_seconds(got).value();
  return std::abs(got_s - expected_s) <= std::max(1e-9, 1e-9 * std::abs(expected_s));
}

bool agrees_with(const Json& expect, const Result& result, const std::string& where) {
  check_keys(expect,
             {"simgrid_s",
              "ring_end_ps",
              "ring_end_s",
              "flow_end_s",
              "flow_end_ps",
              "end_ps",
              "end_s",
              "step_s"},
             where + " expect");
  bool agrees = true;
  Tick last = result.end.value_or(0);
  for (const std::vector<Tick>& ring : result.rings) {
    last = std::max(last, *std::max_element(ring.begin(), ring.end()));
  }
  for (const auto& [name, end] : result.flows) {
    last = std::max(last, end);
  }
  for (const auto& [key, value] : expect.items()) {
    if (key == "simgrid_s" || key == "step_s" || key == "end_s") {
      agrees = agrees && same_seconds(value.get<double>(), last);
    } else if (key == "end_ps") {
      agrees = agrees && value.get<Tick>() == last;
    } else if (key == "flow_end_s" || key == "flow_end_ps") {
      for (const auto& [name, end] : value.items()) {
        const auto found = result.flows.find(name);
        agrees = agrees && found != result.flows.end() &&
                 (key == "flow_end_ps" ? end.get<Tick>() == found->second
                                       : same_seconds(end.get<double>(), found->second));
      }
    } else {
      agrees = agrees && value.size() == result.rings.size();
      for (std::size_t i = 0; agrees && i < value.size(); ++i) {
        const std::vector<Tick>& ends = result.rings[i];
        const auto [first, latest] = std::minmax_element(ends.begin(), ends.end());
        for (const auto& [what, end] : value[i].items()) {
          if (what == "every_rank") {
            agrees = agrees && end.get<Tick>() == *first && *first == *latest;
          } else if (what == "by_rank") {
            agrees = agrees && end.get<std::vector<Tick>>() == ends;
          } else if (what == "first" || what == "last") {
            agrees = agrees && same_seconds(end.get<double>(), what == "first" ? *first : *latest);
          } else {
            throw UserError(fmt::format("{}: unknown expectation \"{}\"", where, what));
          }
        }
      }
    }
  }
  return agrees;
}

Json run_case(const Json& the_case, std::size_t index) {
  const std::string where = the_case.is_object() && the_case.contains("name")
                                ? fmt::format("case {}", the_case["name"].dump())
                                : fmt::format("case {}", index);
  if (!the_case.is_object()) {
    throw UserError(where + ": an object is needed");
  }
  const Result result = the_case.contains("network")   ? run_network_case(the_case, where)
                        : the_case.contains("compute") ? run_straggler_case(the_case, where)
                                                       : run_overlapped_case(the_case, where);
  Json out = {{"name", the_case.contains("name") ? the_case["name"] : Json(index)}};
  for (const std::vector<Tick>& ring : result.rings) {
    const auto [first, last] = std::minmax_element(ring.begin(), ring.end());
    out["ring_end_ps"].push_back({{"by_rank", ring}});
    out["ring_end_s"].push_back(
        {{"first", to_seconds(*first).value()}, {"last", to_seconds(*last).value()}});
  }
  for (const auto& [name, end] : result.flows) {
    out["flow_end_ps"][name] = end;
    out["flow_end_s"][name] = to_seconds(end).value();
  }
  if (result.end) {
    out["end_ps"] = *result.end;
    out[result.is_step ? "step_s" : "end_s"] = to_seconds(*result.end).value();
  }
  if (the_case.contains("expect")) {
    out["agrees"] = agrees_with(the_case["expect"], result, where);
  }
  return out;
}

}  // namespace

Json compute_oracle(const Json& file) {
  check_keys(file, {"what", "source", "cases"}, "oracle file");
  Json results = Json::array();
  try {
    for (const Json& the_case : list(file, "cases", "oracle file")) {
      results.push_back(run_case(the_case, results.size()));
    }
  } catch (const Json::exception& error) {
    throw UserError(fmt::format("oracle file, case {}: {}", results.size(), error.what()));
  }
  return {{"cases", results}};
}

Json read_oracle(const std::string& path) {
  std::ifstream stream(path);
  if (!stream) {
    throw UserError(fmt::format("{}: cannot be read", path));
  }
  try {
    return Json::parse(stream);
  } catch (const Json::exception& error) {
    throw UserError(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace vitsim::testing
