#include "models/report/report.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/document_reader.h"

namespace vitsim {

namespace {

constexpr std::int64_t kMostWhole = std::numeric_limits<std::int64_t>::max();
constexpr Range kNotNegative{.least = 0};

struct NamedPart {
  std::string_view key;
  double MemoryParts::*part;
};

constexpr std::array<NamedPart, 6> kMemoryParts = {{{"weights", &MemoryParts::weights},
                                                    {"gradients", &MemoryParts::gradients},
                                                    {"optimizer", &MemoryParts::optimizer},
                                                    {"buffers", &MemoryParts::buffers},
                                                    {"activations", &MemoryParts::activations},
                                                    {"constant", &MemoryParts::constant}}};

struct NamedPhase {
  std::string_view key;
  double PhaseSeconds::*seconds;
  bool is_new = false;  // reports of earlier versions do not have it
};

constexpr std::array<NamedPhase, 9> kPhases = {
    {{"data_load_s", &PhaseSeconds::data_load_s},
     {"forward_s", &PhaseSeconds::forward_s},
     {"backward_s", &PhaseSeconds::backward_s},
     {"gradient_all_reduce_s", &PhaseSeconds::gradient_all_reduce_s},
     {"parameter_all_gather_s", &PhaseSeconds::parameter_all_gather_s, true},
     {"tensor_parallel_s", &PhaseSeconds::tensor_parallel_s, true},
     {"pipeline_send_s", &PhaseSeconds::pipeline_send_s, true},
     {"optimizer_s", &PhaseSeconds::optimizer_s},
     {"other_s", &PhaseSeconds::other_s}}};

template <class T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

nlohmann::json to_json(const Quantiles& quantiles) {
  return {{"mean", quantiles.mean},
          {"p05", or_null(quantiles.p05)},
          {"p50", quantiles.p50},
          {"p95", or_null(quantiles.p95)}};
}

nlohmann::json to_json(const RankMemory& memory) {
  nlohmann::json parts;
  for (const NamedPart& named : kMemoryParts) {
    parts[std::string(named.key)] = memory.parts.*named.part;
  }
  nlohmann::json json = {{"total_bytes", memory.total_bytes},
                         {"capacity_bytes", or_null(memory.capacity_bytes)},
                         {"fits", memory.fits},
                         {"parts", parts}};
  if (memory.allocated_bytes) {
    json["allocated_bytes"] = *memory.allocated_bytes;
  }
  if (memory.reserved_bytes) {
    json["reserved_bytes"] = *memory.reserved_bytes;
  }
  return json;
}

nlohmann::json to_json(const RankReport& rank) {
  nlohmann::json json = {{"rank", rank.rank},
                         {"node", rank.node},
                         {"gpu", rank.gpu},
                         {"micro_batch", rank.micro_batch},
                         {"compute_s", rank.compute_s},
                         {"wait_s", rank.wait_s},
                         {"late_share", rank.late_share},
                         {"gain_s", rank.gain_s},
                         {"memory", to_json(rank.memory)}};
  if (!rank.device.empty()) {
    json["device"] = rank.device;
  }
  if (rank.power) {
    json["power"] = {{"mean_w", rank.power->mean_w},
                     {"peak_w", rank.power->peak_w},
                     {"energy_j", rank.power->energy_j}};
  }
  return json;
}

nlohmann::json to_json(const PhaseSeconds& phases) {
  nlohmann::json json;
  for (const NamedPhase& named : kPhases) {
    json[std::string(named.key)] = phases.*named.seconds;
  }
  return json;
}

nlohmann::json to_json(const RankClassReport& ranks) {
  nlohmann::json json = {{"count", ranks.count},
                         {"first_rank", ranks.first_rank},
                         {"node", ranks.node},
                         {"gpu", ranks.gpu},
                         {"micro_batch", ranks.micro_batch},
                         {"compute_s", ranks.compute_s},
                         {"wait_s", ranks.wait_s},
                         {"late_share", ranks.late_share},
                         {"gain_s", ranks.gain_s},
                         {"memory", to_json(ranks.memory)},
                         {"largest_micro_batch", or_null(ranks.largest_micro_batch)}};
  // Of a real run only the mean over ranks is known by phase.
  if (ranks.phases.compute_s() > 0) {
    json["phases"] = to_json(ranks.phases);
    json["exposed_communication_s"] = ranks.exposed_communication_s;
  }
  return json;
}

nlohmann::json to_json(const StepTrack& track) {
  nlohmann::json spans = nlohmann::json::array();
  for (const StepSpan& span : track.spans) {
    spans.push_back({{"stream", name(span.stream)},
                     {"phase", name(span.phase)},
                     {"begin_s", span.begin_s},
                     {"end_s", span.end_s}});
    if (span.straggler_wait) {
      spans.back()["straggler_wait"] = true;
    }
  }
  return {{"rank", track.rank}, {"name", track.name}, {"spans", spans}};
}

constexpr std::array<std::string_view, 3> kLinkKinds = {"nic", "inside node", "trunk"};

nlohmann::json to_json(const LinkUse& link) {
  return {{"name", link.name},
          {"kind", link.kind},
          {"bandwidth_bytes_per_s", link.bandwidth_bytes_per_s},
          {"bytes", link.bytes},
          {"share", link.share}};
}

// A whole number is written as one.
nlohmann::json number(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? nlohmann::json(whole) : nlohmann::json(value);
}

nlohmann::json to_json(const CommunicationRow& row) {
  nlohmann::json json = {{"collective", row.collective},
                         {"phase", row.phase},
                         {"group", row.group},
                         {"calls", number(row.calls)},
                         {"bytes", number(row.bytes)},
                         {"busy_s", row.busy_s},
                         {"exposed_s", row.exposed_s}};
  if (!row.algorithm.empty()) {
    json["algorithm"] = row.algorithm;
  }
  return json;
}

nlohmann::json to_json(const RankSet& ranks) {
  return {{"count", ranks.count()}, {"first", ranks.first()}, {"ranges", ranks.ranges()}};
}

nlohmann::json to_json(const Goodput& goodput) {
  return {{"total_s", to_json(goodput.total_s)},
          {"failures", goodput.failures},
          {"lost_s", goodput.lost_s},
          {"checkpoint_s", goodput.checkpoint_s},
          {"restart_s", goodput.restart_s},
          {"effective_share", goodput.effective_share},
          {"checkpoint_every_s", goodput.checkpoint_every_s},
          {"checkpoint_every_steps", goodput.checkpoint_every_steps}};
}

nlohmann::json to_json(const RunCost& cost) {
  nlohmann::json json = {{"gpu_hours", cost.gpu_hours},
                         {"price", or_null(cost.price)},
                         {"energy_kwh", or_null(cost.energy_kwh)},
                         {"co2e_kg", or_null(cost.co2e_kg)}};
  if (!cost.currency.empty()) {
    json["currency"] = cost.currency;
  }
  if (cost.energy_kwh) {
    json["energy_spread"] = cost.energy_spread;
  }
  return json;
}

constexpr std::array<std::string_view, 5> kLimits = {
    "unknown", "compute", "communication", "straggler", "data-loading"};

nlohmann::json to_json(const Verdict& verdict) {
  nlohmann::json json = {{"limit", kLimits[static_cast<std::size_t>(verdict.limit)]}};
  if (verdict.limit != Verdict::Limit::kStraggler) {
    return json;
  }
  json["stragglers"] = nlohmann::json::array();
  for (const StragglerGroup& group : verdict.stragglers) {
    json["stragglers"].push_back({{"ranks", to_json(group.ranks)},
                                  {"gpu", group.gpu},
                                  {"node", group.node},
                                  {"compute_s", group.compute_s}});
  }
  json["gain_s"] = verdict.gain_s;
  json["reference_s"] = verdict.reference_s;
  json["reference_is_median"] = verdict.reference_is_median;
  json["other_candidates"] = to_json(verdict.other_candidates);
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
  memory.allocated_bytes = number_if_any(object, "allocated_bytes");
  memory.reserved_bytes = number_if_any(object, "reserved_bytes");
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

GpuPower read_power(const Field& field) {
  GpuPower power;
  ObjectReader object(field);
  read_number(object, "mean_w", power.mean_w);
  read_number(object, "peak_w", power.peak_w);
  read_number(object, "energy_j", power.energy_j);
  object.finish();
  return power;
}

RankReport read_rank(const Field& field) {
  RankReport rank;
  ObjectReader object(field);
  object.read("rank", rank.rank, 0, kMostWhole);
  object.read_any("node", rank.node);
  object.read_any("gpu", rank.gpu);
  object.read_any("device", rank.device);
  object.read("micro_batch", rank.micro_batch, 0, kMostWhole);
  read_number(object, "compute_s", rank.compute_s);
  read_number(object, "wait_s", rank.wait_s);
  read_number(object, "late_share", rank.late_share);
  if (const auto gain = object.require("gain_s")) {
    rank.gain_s = gain->number({}).value_or(0);
  }
  if (const auto memory = object.require("memory")) {
    rank.memory = read_memory(*memory);
  }
  if (const auto power = object.find("power")) {
    rank.power = read_power(*power);
  }
  object.finish();
  return rank;
}

PhaseSeconds read_phases(const Field& field) {
  PhaseSeconds phases;
  ObjectReader object(field);
  for (const NamedPhase& named : kPhases) {
    if (named.is_new) {
      phases.*named.seconds = number_if_any(object, named.key).value_or(0);
    } else {
      read_number(object, named.key, phases.*named.seconds);
    }
  }
  object.finish();
  return phases;
}

StepTrack read_track(const Field& field) {
  StepTrack track;
  ObjectReader object(field);
  object.read("rank", track.rank, 0, kMostWhole);
  object.read_any("name", track.name);
  if (const auto spans = object.require("spans")) {
    for (const Field& element : spans->elements()) {
      StepSpan span;
      ObjectReader inner(element);
      inner.read("stream", span.stream, kStreamNames);
      inner.read("phase", span.phase, kPhaseNames);
      read_number(inner, "begin_s", span.begin_s);
      read_number(inner, "end_s", span.end_s);
      inner.read("straggler_wait", span.straggler_wait);
      inner.finish();
      track.spans.push_back(span);
    }
  }
  object.finish();
  return track;
}

LinkUse read_link_use(const Field& field) {
  LinkUse link;
  ObjectReader object(field);
  object.read_any("name", link.name);
  if (const auto kind = object.require("kind")) {
    link.kind = kLinkKinds[kind->choice(kLinkKinds).value_or(0)];
  }
  read_number(object, "bandwidth_bytes_per_s", link.bandwidth_bytes_per_s);
  read_number(object, "bytes", link.bytes);
  read_number(object, "share", link.share);
  object.finish();
  return link;
}

RankClassReport read_rank_class(const Field& field) {
  RankClassReport ranks;
  ObjectReader object(field);
  object.read("count", ranks.count, 1, kMostWhole);
  object.read("first_rank", ranks.first_rank, 0, kMostWhole);
  object.read_any("node", ranks.node);
  object.read_any("gpu", ranks.gpu);
  object.read("micro_batch", ranks.micro_batch, 0, kMostWhole);
  read_number(object, "compute_s", ranks.compute_s);
  read_number(object, "wait_s", ranks.wait_s);
  if (const auto phases = object.find("phases")) {
    ranks.phases = read_phases(*phases);
  }
  ranks.exposed_communication_s = number_if_any(object, "exposed_communication_s").value_or(0);
  read_number(object, "late_share", ranks.late_share);
  if (const auto gain = object.require("gain_s")) {
    ranks.gain_s = gain->number({}).value_or(0);
  }
  if (const auto memory = object.require("memory")) {
    ranks.memory = read_memory(*memory);
  }
  if (const auto largest = object.find("largest_micro_batch"); largest && !largest->is_null()) {
    ranks.largest_micro_batch = largest->integer(0, kMostWhole);
  }
  object.finish();
  return ranks;
}

RankSet read_rank_set(const Field& field) {
  std::int64_t count = 0;
  std::int64_t first = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  ObjectReader object(field);
  object.read("count", count, 0, kMostWhole);
  object.read("first", first, 0, kMostWhole);
  if (const auto list = object.find("ranges")) {
    for (const Field& range : list->elements()) {
      const auto ends = range.elements();
      if (ends.size() == 2) {
        ranges.emplace_back(ends[0].integer(0, kMostWhole).value_or(0),
                            ends[1].integer(0, kMostWhole).value_or(0));
      } else {
        range.problem("a range is the first and the last of its ranks");
      }
    }
  }
  object.finish();
  return RankSet::of(count, first, std::move(ranges));
}

Verdict read_verdict(const Field& field) {
  Verdict verdict;
  ObjectReader object(field);
  if (const auto limit = object.require("limit")) {
    verdict.limit = static_cast<Verdict::Limit>(limit->choice(kLimits).value_or(0));
  }
  if (const auto groups = object.find("stragglers")) {
    for (const Field& element : groups->elements()) {
      StragglerGroup group;
      ObjectReader inner(element);
      if (const auto ranks = inner.require("ranks")) {
        group.ranks = read_rank_set(*ranks);
      }
      inner.read_any("gpu", group.gpu);
      inner.read_any("node", group.node);
      read_number(inner, "compute_s", group.compute_s);
      inner.finish();
      verdict.stragglers.push_back(std::move(group));
    }
  }
  if (const auto gain = object.find("gain_s")) {
    verdict.gain_s = gain->number({}).value_or(0);
  }
  verdict.reference_s = number_if_any(object, "reference_s").value_or(0);
  object.read("reference_is_median", verdict.reference_is_median);
  if (const auto others = object.find("other_candidates")) {
    verdict.other_candidates = read_rank_set(*others);
  }
  object.finish();
  if (verdict.limit == Verdict::Limit::kStraggler && verdict.stragglers.empty()) {
    field.problem("names no straggler");
  }
  return verdict;
}

// Reports of earlier versions list every rank and know no classes.
std::vector<RankClassReport> classes_of(const std::vector<RankReport>& ranks) {
  std::vector<RankClassReport> classes;
  for (const RankReport& rank : ranks) {
    const auto same = std::ranges::find_if(classes, [&](const RankClassReport& other) {
      return other.gpu == rank.gpu && other.micro_batch == rank.micro_batch &&
             other.compute_s == rank.compute_s && other.wait_s == rank.wait_s;
    });
    if (same != classes.end()) {
      ++same->count;
      same->late_share += rank.late_share;
      continue;
    }
    classes.push_back({.count = 1,
                       .first_rank = rank.rank,
                       .node = rank.node,
                       .gpu = rank.gpu,
                       .micro_batch = rank.micro_batch,
                       .compute_s = rank.compute_s,
                       .wait_s = rank.wait_s,
                       .late_share = rank.late_share,
                       .gain_s = rank.gain_s,
                       .memory = rank.memory,
                       .largest_micro_batch = rank.largest_micro_batch});
  }
  return classes;
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

CommunicationRow read_communication(const Field& field) {
  CommunicationRow row;
  ObjectReader object(field);
  object.read_any("collective", row.collective);
  object.read_any("phase", row.phase);
  object.read_any("group", row.group);
  read_number(object, "calls", row.calls);
  read_number(object, "bytes", row.bytes);
  read_number(object, "busy_s", row.busy_s);
  read_number(object, "exposed_s", row.exposed_s);
  if (const auto algorithm = object.find("algorithm")) {
    row.algorithm = algorithm->text().value_or("");
  }
  object.finish();
  return row;
}

DisturbanceCost read_disturbance(const Field& field) {
  DisturbanceCost event;
  ObjectReader object(field);
  object.read_any("what", event.what);
  if (const auto cost = object.require("cost_s")) {
    event.cost_s = cost->number({}).value_or(0);
  }
  object.finish();
  return event;
}

Goodput read_goodput(const Field& field) {
  Goodput goodput;
  ObjectReader object(field);
  goodput.total_s = read_quantiles(object, "total_s");
  read_number(object, "failures", goodput.failures);
  read_number(object, "lost_s", goodput.lost_s);
  read_number(object, "checkpoint_s", goodput.checkpoint_s);
  read_number(object, "restart_s", goodput.restart_s);
  read_number(object, "effective_share", goodput.effective_share);
  read_number(object, "checkpoint_every_s", goodput.checkpoint_every_s);
  object.read("checkpoint_every_steps", goodput.checkpoint_every_steps, 0, kMostWhole);
  object.finish();
  return goodput;
}

RunCost read_cost(const Field& field) {
  RunCost cost;
  ObjectReader object(field);
  read_number(object, "gpu_hours", cost.gpu_hours);
  cost.price = number_or_null(object, "price");
  cost.energy_kwh = number_or_null(object, "energy_kwh");
  cost.co2e_kg = number_or_null(object, "co2e_kg");
  object.read_any("currency", cost.currency);
  cost.energy_spread = number_if_any(object, "energy_spread").value_or(0);
  object.finish();
  return cost;
}

void read_body(const Field& field, Report& report) {
  ObjectReader object(field);
  object.read("steps_per_epoch", report.steps_per_epoch, 0, kMostWhole);
  object.read("samples_per_epoch", report.samples_per_epoch, 0, kMostWhole);
  report.epoch_s = read_quantiles(object, "epoch_s");
  report.step_s = read_quantiles(object, "step_s");
  report.total_s = read_quantiles(object, "total_s");
  read_number(object, "samples_per_s", report.samples_per_s);
  report.model_flops_per_s = number_if_any(object, "model_flops_per_s");
  report.model_flops_utilisation = number_if_any(object, "model_flops_utilisation");
  if (const auto phases = object.require("phases")) {
    report.phases = read_phases(*phases);
  }
  if (const auto rows = object.find("communication")) {
    for (const Field& row : rows->elements()) {
      report.communication.push_back(read_communication(row));
    }
  }
  if (const auto remarks = object.find("remarks")) {
    for (const Field& remark : remarks->elements()) {
      report.remarks.push_back(remark.text().value_or(""));
    }
  }
  read_number(object, "exposed_communication_s", report.exposed_communication_s);
  read_number(object, "wait_s", report.wait_s);
  if (const auto ranks = object.find("ranks")) {
    for (const Field& rank : ranks->elements()) {
      report.ranks.push_back(read_rank(rank));
    }
  }
  const auto classes = object.find("rank_classes");
  if (classes) {
    for (const Field& element : classes->elements()) {
      report.rank_classes.push_back(read_rank_class(element));
    }
  } else if (report.ranks.empty()) {
    field.problem("lists neither \"ranks\" nor \"rank_classes\"");
  }
  for (const RankClassReport& each : report.rank_classes) {
    report.world_size += each.count;
  }
  if (const auto largest = object.find("largest_micro_batch")) {
    const auto elements = largest->elements();
    if (largest->is_array() && elements.size() != report.ranks.size()) {
      largest->problem(
          fmt::format("holds {} numbers for {} ranks", elements.size(), report.ranks.size()));
    }
    for (std::size_t i = 0; i < std::min(elements.size(), report.ranks.size()); ++i) {
      if (!elements[i].is_null()) {
        report.ranks[i].largest_micro_batch = elements[i].integer(0, kMostWhole);
      }
    }
  }
  if (const auto tracks = object.find("timeline")) {
    for (const Field& track : tracks->elements()) {
      report.timeline.push_back(read_track(track));
    }
  }
  if (const auto links = object.find("links")) {
    for (const Field& link : links->elements()) {
      report.links.push_back(read_link_use(link));
    }
  }
  if (const auto events = object.find("events")) {
    for (const Field& event : events->elements()) {
      report.disturbances.push_back(read_disturbance(event));
    }
  }
  if (const auto goodput = object.find("goodput")) {
    report.goodput = read_goodput(*goodput);
  }
  if (const auto cost = object.find("cost")) {
    report.cost = read_cost(*cost);
  }
  std::string sentence;  // made of the verdict
  object.read_any("bottleneck", sentence);
  if (const auto verdict = object.find("verdict")) {
    report.verdict = read_verdict(*verdict);
  }
  if (!classes) {
    report.rank_classes = classes_of(report.ranks);
    report.world_size = std::ssize(report.ranks);
  }
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

Report read_one(const Field& field) {
  Report report;
  ObjectReader object(field);
  if (object.is_object() && check_schema(object, "vitsim-report", 1)) {
    static constexpr std::array<std::string_view, 2> kSources = {"predicted", "measured"};
    std::size_t source = 0;
    if (const auto word = object.require("source")) {
      source = word->choice(kSources).value_or(0);
    }
    report.source = kSources[source];
    if (const auto resolved = object.find("resolved")) {
      ObjectReader check(*resolved);
      report.resolved_json = to_json(resolved->value()).dump();
    }
    if (const auto body = object.require(source == 0 ? "prediction" : "measurement")) {
      read_body(*body, report);
    }
    if (const auto jobs = object.find("jobs")) {
      for (const Field& job : jobs->elements()) {
        (void)read_one(job);  // of several jobs the first one stands for the file
      }
    }
    object.finish();
  }
  return report;
}

Report read_document(const Document& document, Problems& problems) {
  Report report = read_one(Field(document, problems));
  problems.throw_if_any();
  return report;
}

}  // namespace

std::vector<std::size_t> likely_last(const std::vector<double>& late_share) {
  std::vector<std::size_t> entries(late_share.size());
  std::iota(entries.begin(), entries.end(), std::size_t{0});
  std::ranges::stable_sort(
      entries, std::ranges::greater(), [&](std::size_t entry) { return late_share[entry]; });
  constexpr double kEnough = 0.9;
  constexpr double kShareRounding = 1e-9;
  double together = 0;
  std::size_t count = 0;
  while (count < entries.size() &&
         (together < kEnough ||
          late_share[entries[count]] > late_share[entries[count - 1]] - kShareRounding)) {
    together += late_share[entries[count++]];
  }
  entries.resize(count);
  return entries;
}

std::vector<std::size_t> likely_stragglers(const Report& report) {
  std::vector<double> late_share;
  late_share.reserve(report.ranks.size());
  for (const RankReport& rank : report.ranks) {
    late_share.push_back(rank.late_share);
  }
  return late_share.size() < 2 ? std::vector<std::size_t>() : likely_last(late_share);
}

nlohmann::json to_json(const Report& report) {
  nlohmann::json ranks = nlohmann::json::array();
  nlohmann::json largest = nlohmann::json::array();
  for (const RankReport& rank : report.ranks) {
    ranks.push_back(to_json(rank));
    largest.push_back(or_null(rank.largest_micro_batch));
  }
  nlohmann::json classes = nlohmann::json::array();
  for (const RankClassReport& each : report.rank_classes) {
    classes.push_back(to_json(each));
  }
  nlohmann::json basis = nlohmann::json::array();
  for (const Basis& one : report.basis) {
    basis.push_back({{"part", one.part},
                     {"kind", one.kind},
                     {"detail", one.detail},
                     {"error", or_null(one.error)}});
  }
  nlohmann::json events = nlohmann::json::array();
  for (const DisturbanceCost& event : report.disturbances) {
    events.push_back({{"what", event.what}, {"cost_s", event.cost_s}});
  }
  nlohmann::json communication = nlohmann::json::array();
  for (const CommunicationRow& row : report.communication) {
    communication.push_back(to_json(row));
  }
  nlohmann::json body = {{"steps_per_epoch", report.steps_per_epoch},
                         {"samples_per_epoch", report.samples_per_epoch},
                         {"epoch_s", to_json(report.epoch_s)},
                         {"step_s", to_json(report.step_s)},
                         {"total_s", to_json(report.total_s)},
                         {"samples_per_s", report.samples_per_s},
                         {"phases", to_json(report.phases)},
                         {"communication", communication},
                         {"remarks", report.remarks},
                         {"exposed_communication_s", report.exposed_communication_s},
                         {"wait_s", report.wait_s},
                         {"events", events},
                         {"bottleneck", verdict_sentence(report)},
                         {"verdict", to_json(report.verdict)},
                         {"rank_classes", classes},
                         {"basis", basis},
                         {"warnings", report.warnings}};
  if (!report.ranks.empty()) {
    body["ranks"] = ranks;
    body["largest_micro_batch"] = largest;
  }
  if (!report.timeline.empty()) {
    body["timeline"] = nlohmann::json::array();
    for (const StepTrack& track : report.timeline) {
      body["timeline"].push_back(to_json(track));
    }
  }
  if (!report.links.empty()) {
    body["links"] = nlohmann::json::array();
    for (const LinkUse& link : report.links) {
      body["links"].push_back(to_json(link));
    }
  }
  if (report.model_flops_per_s) {
    body["model_flops_per_s"] = *report.model_flops_per_s;
  }
  if (report.model_flops_utilisation) {
    body["model_flops_utilisation"] = *report.model_flops_utilisation;
  }
  if (report.goodput) {
    body["goodput"] = to_json(*report.goodput);
  }
  if (report.cost) {
    body["cost"] = to_json(*report.cost);
  }
  const bool predicted = report.source == "predicted";
  nlohmann::json resolved = nlohmann::json::object();
  if (!report.resolved_json.empty()) {
    resolved = nlohmann::json::parse(report.resolved_json);
  }
  return {{"schema", "vitsim-report/1"},
          {"source", report.source},
          {"resolved", resolved},
          {predicted ? "prediction" : "measurement", body}};
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
