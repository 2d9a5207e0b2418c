#include "models/report/report.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/document_reader.h"

namespace vitsim {

namespace {

constexpr std::int64_t kMostCount = std::numeric_limits<std::int64_t>::max();
constexpr Range kNotNegative{.least = 0};

struct NamedPart {
  std::string_view key;
  double MemoryParts::*part;
};

constexpr std::array<NamedPart, 6> kMemoryParts = {
    {{"weights", &MemoryParts::weights},
     {"gradients", &MemoryParts::gradients},
     {"optimizer", &MemoryParts::optimizer},
     {"buffers", &MemoryParts::buffers},
     {"activations", &MemoryParts::activations},
     {"constant", &MemoryParts::constant}}
};

struct NamedPhase {
  std::string_view key;
  double PhaseSeconds::*seconds;
};

constexpr std::array<NamedPhase, 6> kPhases = {
    {{"data_load_s", &PhaseSeconds::data_load_s},
     {"forward_s", &PhaseSeconds::forward_s},
     {"backward_s", &PhaseSeconds::backward_s},
     {"gradient_all_reduce_s", &PhaseSeconds::gradient_all_reduce_s},
     {"optimizer_s", &PhaseSeconds::optimizer_s},
     {"other_s", &PhaseSeconds::other_s}}
};

template <class T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

nlohmann::json to_json(const Quantiles& quantiles) {
  return {
      {"mean",         quantiles.mean},
      { "p05", or_null(quantiles.p05)},
      { "p50",          quantiles.p50},
      { "p95", or_null(quantiles.p95)}
  };
}

nlohmann::json to_json(const RankMemory& memory) {
  nlohmann::json parts;
  for (const NamedPart& named : kMemoryParts) {
    parts[std::string(named.key)] = memory.parts.*named.part;
  }
  return {
      {   "total_bytes",             memory.total_bytes},
      {"capacity_bytes", or_null(memory.capacity_bytes)},
      {          "fits",                    memory.fits},
      {         "parts",                          parts}
  };
}

nlohmann::json to_json(const RankReport& rank) {
  nlohmann::json json = {
      {       "rank",            rank.rank},
      {       "node",            rank.node},
      {        "gpu",             rank.gpu},
      {"micro_batch",     rank.micro_batch},
      {  "compute_s",       rank.compute_s},
      {     "wait_s",          rank.wait_s},
      { "late_share",      rank.late_share},
      {     "gain_s",          rank.gain_s},
      {     "memory", to_json(rank.memory)}
  };
  if (!rank.device.empty()) {
    json["device"] = rank.device;
  }
  return json;
}

// ---- reading ----

std::optional<double> number_or_null(ObjectReader& object, std::string_view key) {
  const auto field = object.require(key);
  return field && !field->is_null() ? field->number(kNotNegative) : std::nullopt;
}

std::optional<double> number_if_any(ObjectReader& object, std::string_view key) {
  const auto field = object.find(key);
  return field ? field->number(kNotNegative) : std::nullopt;
}

void read_number(ObjectReader& object, std::string_view key, double& target) {
  if (const auto field = object.require(key)) {
    target = field->number(kNotNegative).value_or(0);
  }
}

Quantiles read_quantiles(ObjectReader& parent, std::string_view key) {
  Quantiles quantiles;
  if (const auto field = parent.require(key)) {
    ObjectReader object(*field);
    read_number(object, "mean", quantiles.mean);
    quantiles.p05 = number_or_null(object, "p05");
    read_number(object, "p50", quantiles.p50);
    quantiles.p95 = number_or_null(object, "p95");
    object.finish();
  }
  return quantiles;
}

RankMemory read_memory(const Field& field) {
  RankMemory memory;
  ObjectReader object(field);
  read_number(object, "total_bytes", memory.total_bytes);
  memory.capacity_bytes = number_or_null(object, "capacity_bytes");
  object.read("fits", memory.fits);
  if (const auto parts = object.require("parts")) {
    ObjectReader inner(*parts);
    for (const NamedPart& named : kMemoryParts) {
      read_number(inner, named.key, memory.parts.*named.part);
    }
    inner.finish();
  }
  object.finish();
  return memory;
}

RankReport read_rank(const Field& field) {
  RankReport rank;
  ObjectReader object(field);
  object.read("rank", rank.rank, 0, kMostCount);
  object.read_any("node", rank.node);
  object.read_any("gpu", rank.gpu);
  object.read_any("device", rank.device);
  object.read("micro_batch", rank.micro_batch, 0, kMostCount);
  read_number(object, "compute_s", rank.compute_s);
  read_number(object, "wait_s", rank.wait_s);
  read_number(object, "late_share", rank.late_share);
  if (const auto gain = object.require("gain_s")) {
    rank.gain_s = gain->number({}).value_or(0);
  }
  if (const auto memory = object.require("memory")) {
    rank.memory = read_memory(*memory);
  }
  object.finish();
  return rank;
}

Basis read_basis(const Field& field) {
  Basis basis;
  ObjectReader object(field);
  object.read_any("part", basis.part);
  object.read_any("kind", basis.kind);
  object.read_any("detail", basis.detail);
  basis.error = number_or_null(object, "error");
  object.finish();
  return basis;
}

EventCost read_event(const Field& field) {
  EventCost event;
  ObjectReader object(field);
  object.read_any("what", event.what);
  if (const auto cost = object.require("cost_s")) {
    event.cost_s = cost->number({}).value_or(0);
  }
  object.finish();
  return event;
}

void read_body(const Field& field, Report& report) {
  ObjectReader object(field);
  object.read("steps_per_epoch", report.steps_per_epoch, 0, kMostCount);
  object.read("samples_per_epoch", report.samples_per_epoch, 0, kMostCount);
  report.epoch_s = read_quantiles(object, "epoch_s");
  report.step_s = read_quantiles(object, "step_s");
  report.total_s = read_quantiles(object, "total_s");
  read_number(object, "samples_per_s", report.samples_per_s);
  report.model_flops_per_s = number_if_any(object, "model_flops_per_s");
  report.model_flops_utilisation = number_if_any(object, "model_flops_utilisation");
  if (const auto phases = object.require("phases")) {
    ObjectReader inner(*phases);
    for (const NamedPhase& named : kPhases) {
      read_number(inner, named.key, report.phases.*named.seconds);
    }
    inner.finish();
  }
  read_number(object, "exposed_communication_s", report.exposed_communication_s);
  read_number(object, "wait_s", report.wait_s);
  if (const auto ranks = object.require("ranks")) {
    for (const Field& rank : ranks->elements()) {
      report.ranks.push_back(read_rank(rank));
    }
  }
  if (const auto largest = object.find("largest_micro_batch")) {
    const auto elements = largest->elements();
    if (largest->is_array() && elements.size() != report.ranks.size()) {
      largest->problem(
          fmt::format("holds {} numbers for {} ranks", elements.size(), report.ranks.size()));
    }
    for (std::size_t i = 0; i < std::min(elements.size(), report.ranks.size()); ++i) {
      if (!elements[i].is_null()) {
        report.ranks[i].largest_micro_batch = elements[i].integer(0, kMostCount);
      }
    }
  }
  if (const auto events = object.find("events")) {
    for (const Field& event : events->elements()) {
      report.events.push_back(read_event(event));
    }
  }
  object.read_any("bottleneck", report.bottleneck);
  if (const auto basis = object.find("basis")) {
    for (const Field& element : basis->elements()) {
      report.basis.push_back(read_basis(element));
    }
  }
  if (const auto warnings = object.find("warnings")) {
    for (const Field& element : warnings->elements()) {
      report.warnings.push_back(element.text().value_or(""));
    }
  }
  object.finish();
}

Report read_document(const Document& document, Problems& problems) {
  Report report;
  ObjectReader object(Field(document, problems));
  if (object.is_object() && check_schema(object, "vitsim-report", 1)) {
    static constexpr std::array<std::string_view, 2> kSources = {"predicted", "measured"};
    std::size_t source = 0;
    if (const auto field = object.require("source")) {
      source = field->choice(kSources).value_or(0);
    }
    report.source = kSources[source];
    if (const auto resolved = object.find("resolved")) {
      ObjectReader check(*resolved);
      report.resolved_json = to_json(resolved->value()).dump();
    }
    if (const auto body = object.require(source == 0 ? "prediction" : "measurement")) {
      read_body(*body, report);
    }
    object.finish();
  }
  problems.throw_if_any();
  return report;
}

}  // namespace

std::vector<std::size_t> likely_slowest(const Report& report) {
  if (report.ranks.size() < 2) {
    return {};
  }
  const auto share = [&](std::size_t rank) { return report.ranks[rank].late_share; };
  std::vector<std::size_t> ranks(report.ranks.size());
  std::iota(ranks.begin(), ranks.end(), std::size_t{0});
  std::ranges::stable_sort(ranks, std::ranges::greater(), share);
  constexpr double kEnough = 0.9;
  constexpr double kRounding = 1e-9;
  double together = 0;
  std::size_t count = 0;
  while (count < ranks.size() &&
         (together < kEnough || share(ranks[count]) > share(ranks[count - 1]) - kRounding)) {
    together += share(ranks[count++]);
  }
  ranks.resize(count);
  return ranks;
}

nlohmann::json to_json(const Report& report) {
  nlohmann::json phases;
  for (const NamedPhase& named : kPhases) {
    phases[std::string(named.key)] = report.phases.*named.seconds;
  }
  nlohmann::json ranks = nlohmann::json::array();
  nlohmann::json largest = nlohmann::json::array();
  for (const RankReport& rank : report.ranks) {
    ranks.push_back(to_json(rank));
    largest.push_back(or_null(rank.largest_micro_batch));
  }
  nlohmann::json basis = nlohmann::json::array();
  for (const Basis& one : report.basis) {
    basis.push_back({
        {  "part",           one.part},
        {  "kind",           one.kind},
        {"detail",         one.detail},
        { "error", or_null(one.error)}
    });
  }
  nlohmann::json events = nlohmann::json::array();
  for (const EventCost& event : report.events) {
    events.push_back({
        {  "what",   event.what},
        {"cost_s", event.cost_s}
    });
  }
  nlohmann::json body = {
      {        "steps_per_epoch",         report.steps_per_epoch},
      {      "samples_per_epoch",       report.samples_per_epoch},
      {                "epoch_s",        to_json(report.epoch_s)},
      {                 "step_s",         to_json(report.step_s)},
      {                "total_s",        to_json(report.total_s)},
      {          "samples_per_s",           report.samples_per_s},
      {                 "phases",                         phases},
      {"exposed_communication_s", report.exposed_communication_s},
      {                 "wait_s",                  report.wait_s},
      {                  "ranks",                          ranks},
      {    "largest_micro_batch",                        largest},
      {                 "events",                         events},
      {             "bottleneck",              report.bottleneck},
      {                  "basis",                          basis},
      {               "warnings",                report.warnings}
  };
  if (report.model_flops_per_s) {
    body["model_flops_per_s"] = *report.model_flops_per_s;
  }
  if (report.model_flops_utilisation) {
    body["model_flops_utilisation"] = *report.model_flops_utilisation;
  }
  const bool predicted = report.source == "predicted";
  nlohmann::json resolved = nlohmann::json::object();
  if (!report.resolved_json.empty()) {
    resolved = nlohmann::json::parse(report.resolved_json);
  }
  return {
      {                                "schema", "vitsim-report/1"},
      {                                "source",     report.source},
      {                              "resolved",          resolved},
      {predicted ? "prediction" : "measurement",              body}
  };
}

Report report_from_json(const nlohmann::json& json, const std::string& origin) {
  return report_from_text(json.dump(), origin);
}

Report read_report(const std::filesystem::path& file) {
  Problems problems;
  const Document document = Document::read(file, problems);
  return read_document(document, problems);
}

Report report_from_text(std::string_view text, const std::string& origin) {
  Problems problems;
  const Document document = Document::parse(text, origin, problems);
  return read_document(document, problems);
}

}  // namespace vitsim
