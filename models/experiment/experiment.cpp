#include "models/experiment/experiment.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/document_reader.h"
#include "models/document/words.h"
#include "models/experiment/cluster_reader.h"
#include "models/experiment/failures_reader.h"
#include "models/experiment/limits.h"
#include "models/experiment/resolved.h"
#include "models/experiment/training_reader.h"

namespace vitsim {

namespace {

constexpr std::array<std::string_view, 4> kEventNames = {"slowdown", "link", "pause", "failure"};
constexpr Seconds kLongestRun{1e9};  // thirty years

DocumentMember member(std::string_view key, std::int64_t number, const DocumentValue& place) {
  return {.key = std::string(key),
          .line = place.line,
          .value = {.value = number, .line = place.line, .source = place.source}};
}

// `--set cluster.nodes.0.gpus.0.slowdown=1.3` on a GPU that the file gives by name, and
// `--set training.model.layers=13` on a named variant: the name becomes the object it stands for.
bool promote(std::string_view path, DocumentValue& value) {
  const auto* const name = std::get_if<std::string>(&value.value);
  if (name == nullptr) {
    return false;
  }
  if (path.starts_with("/cluster/nodes/") && path.find("/gpus/") != std::string_view::npos) {
    DocumentValue model{.value = *name, .line = value.line, .source = value.source};
    value.value =
        DocumentValue::Object{{.key = "model", .line = value.line, .value = std::move(model)}};
    return true;
  }
  if (path.ends_with("/model")) {
    if (const auto vit = vit_variant(*name)) {
      value.value = DocumentValue::Object{member("layers", vit->layers, value),
                                          member("width", vit->width, value),
                                          member("heads", vit->heads, value),
                                          member("mlp", vit->mlp, value),
                                          member("patch", vit->patch, value)};
      return true;
    }
  }
  return false;
}

std::int64_t read_rank(ObjectReader& object, std::int64_t world_size) {
  const auto field = object.require("rank");
  if (!field) {
    return 0;
  }
  const std::int64_t rank = field->integer(0, kMostRanks).value_or(0);
  if (world_size > 0 && rank >= world_size) {
    field->problem(fmt::format("the cluster has ranks 0 to {}, not {}", world_size - 1, rank));
  }
  return rank;
}

// A link of an event is one of the file's links or a node's NIC.
void read_event_link(ObjectReader& object, const ClusterSpec& cluster, DisturbanceSpec& event) {
  std::vector<std::string> names;
  for (const NodeSpec& node : cluster.nodes) {
    names.push_back(node.name);
  }
  const auto node = object.find("node");
  const auto ends = object.find("ends");
  if (node && ends) {
    ends->problem("is given beside \"node\": keep one of the two");
  } else if (!node && !ends) {
    object.field().problem(R"(needs "ends" (two names) or "node" (that node's NIC))");
  }
  if (node) {
    event.node = node->text().value_or("");
    if (!event.node.empty() && std::ranges::find(names, event.node) == names.end()) {
      node->problem(
          fmt::format("unknown node {}{}", in_quotes(event.node), did_you_mean(event.node, names)));
    }
  }
  if (!ends) {
    return;
  }
  names.insert(names.end(), cluster.switches.begin(), cluster.switches.end());
  bool all_known = true;
  for (const Field& end : ends->elements()) {
    event.ends.push_back(end.text().value_or(""));
    if (std::ranges::find(names, event.ends.back()) == names.end()) {
      all_known = false;
      end.problem(fmt::format("unknown node or switch {}{}",
                              in_quotes(event.ends.back()),
                              did_you_mean(event.ends.back(), names)));
    }
  }
  if (ends->is_array() && event.ends.size() != 2) {
    ends->problem(fmt::format("a link has two ends, not {}", event.ends.size()));
    return;
  }
  const auto joins = [&](const TrunkSpec& trunk) {
    return (trunk.a == event.ends[0] && trunk.b == event.ends[1]) ||
           (trunk.a == event.ends[1] && trunk.b == event.ends[0]);
  };
  if (all_known && event.ends.size() == 2 && std::ranges::none_of(cluster.links, joins)) {
    ends->problem(fmt::format("no link joins {} and {}; a NIC is given by \"node\"",
                              in_quotes(event.ends[0]),
                              in_quotes(event.ends[1])));
  }
}

// When the failure happens, and when the job is up again.
void read_failure(ObjectReader& object, const Experiment& experiment, DisturbanceSpec& event) {
  event.rank = read_rank(object, experiment.cluster.world_size());
  if (const auto at = object.require("at")) {
    event.from = at->seconds(Seconds(0), kLongestRun).value_or(Seconds(0));
  }
  Seconds restart = experiment.failures ? experiment.failures->restart : Seconds(0);
  if (const auto own = object.find("restart")) {
    restart = own->seconds(Seconds(0), kLongestRun).value_or(Seconds(0));
  } else if (!experiment.failures) {
    object.field().problem(
        R"(needs a "restart" time, e.g. "10min", here or in the file's "failures")");
  }
  event.to = event.from + restart;
}

std::optional<DisturbanceSpec> read_event(const Field& field, const Experiment& experiment) {
  const ClusterSpec& cluster = experiment.cluster;
  DisturbanceSpec event;
  ObjectReader object(field);
  const auto what = object.require("what");
  const auto index = what ? what->choice(kEventNames) : std::nullopt;
  if (!index) {
    return std::nullopt;  // which keys belong here depends on it
  }
  event.what = static_cast<DisturbanceSpec::What>(*index);
  const std::int64_t world_size = cluster.world_size();
  switch (event.what) {
    case DisturbanceSpec::What::kSlowdown:
      event.rank = read_rank(object, world_size);
      if (const auto factor = object.require("factor")) {
        event.factor = factor->number({.least = 0, .most = 1e6, .above_least = true}).value_or(1);
      }
      break;
    case DisturbanceSpec::What::kPause:
      event.rank = read_rank(object, world_size);
      break;
    case DisturbanceSpec::What::kFailure:
      read_failure(object, experiment, event);
      object.finish();
      return event;
    case DisturbanceSpec::What::kLink:
      read_event_link(object, cluster, event);
      if (const auto bandwidth = object.require("bandwidth")) {
        event.bandwidth = bandwidth->bandwidth().value_or(BytesPerSecond(1));
      }
      break;
  }
  const auto from = object.require("from");
  const auto to = object.require("to");
  const auto begin = from ? from->seconds(Seconds(0), kLongestRun) : std::nullopt;
  const auto end = to ? to->seconds(Seconds(0), kLongestRun) : std::nullopt;
  event.from = begin.value_or(Seconds(0));
  event.to = end.value_or(Seconds(0));
  if (begin && end && event.to <= event.from) {
    to->problem("must be later than \"from\"");
  }
  object.finish();
  return event;
}

std::vector<std::int64_t> read_job_ranks(const Field& field,
                                         std::int64_t world_size,
                                         std::unordered_map<std::int64_t, std::size_t>& owners,
                                         std::size_t job) {
  std::vector<std::int64_t> ranks;
  const auto elements = field.elements();
  if (field.is_array() && elements.empty()) {
    field.problem("a job needs at least one rank");
  }
  for (const Field& element : elements) {
    const auto rank = element.integer(0, kMostRanks);
    if (!rank) {
      continue;
    }
    ranks.push_back(*rank);
    if (world_size > 0 && *rank >= world_size) {
      element.problem(fmt::format("the cluster has ranks 0 to {}, not {}", world_size - 1, *rank));
    } else if (const auto [owner, is_new] = owners.emplace(*rank, job); !is_new) {
      element.problem(fmt::format("rank {} already works for /jobs/{}", *rank, owner->second));
    }
  }
  return ranks;
}

/// State that goes to the hosts' memory needs its size in the file.
void check_host_memory(const Field& training_field,
                       const TrainingSpec& training,
                       const ClusterSpec& cluster) {
  if (training.offload.optimizer != OffloadTarget::kCpu &&
      training.offload.parameters != OffloadTarget::kCpu) {
    return;
  }
  const auto without =
      std::ranges::find_if(cluster.nodes, [](const NodeSpec& node) { return !node.host_memory; });
  if (without == cluster.nodes.end() || !training_field.is_object()) {
    return;
  }
  ObjectReader section(training_field);
  const auto config = section.find("deepspeed_config");
  section.find("offload")
      .value_or(config.value_or(training_field))
      .problem(fmt::format("offload to the host needs the memory of node {}: write "
                           "\"host_memory\": \"256GiB\" into its entry of /cluster/nodes",
                           in_quotes(without->name)));
}

std::vector<JobSpec> read_jobs(const Field& field,
                               const Experiment& experiment,
                               Problems& problems,
                               std::vector<std::string>& warnings) {
  std::vector<JobSpec> jobs;
  std::unordered_map<std::int64_t, std::size_t> owners;
  const auto elements = field.elements();
  if (field.is_array() && elements.empty()) {
    field.problem("must hold at least one job");
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    JobSpec job{.name = fmt::format("job-{}", i)};
    ObjectReader object(elements[i]);
    object.read("name", job.name);
    if (const auto ranks = object.require("ranks")) {
      job.ranks = read_job_ranks(*ranks, experiment.cluster.world_size(), owners, i);
    }
    if (const auto start = object.find("start")) {
      job.start = start->seconds(Seconds(0), kLongestRun).value_or(Seconds(0));
    }
    if (const auto training = object.require("training")) {
      job.training = read_training(*training,
                                   {.folder = experiment.file.parent_path(),
                                    .world_size = static_cast<std::int64_t>(job.ranks.size())},
                                   problems,
                                   warnings);
      check_host_memory(*training, job.training, experiment.cluster);
    }
    object.finish();
    if (std::ranges::find(jobs, job.name, &JobSpec::name) != jobs.end()) {
      elements[i].problem(fmt::format("a second job has the name {}", in_quotes(job.name)));
    }
    jobs.push_back(std::move(job));
  }
  return jobs;
}

void read_profiles(const Field& field, Experiment& experiment, MissingProfiles missing) {
  for (const Field& element : field.elements()) {
    if (const auto text = element.text()) {
      experiment.profiles.push_back((experiment.file.parent_path() / *text).lexically_normal());
      std::error_code error;
      if (missing == MissingProfiles::kRefused &&
          !std::filesystem::exists(experiment.profiles.back(), error)) {
        element.problem(
            fmt::format("{}: no such file or folder", experiment.profiles.back().string()));
      }
    }
  }
}

Experiment read_document(Document& document,
                         Problems& problems,
                         const std::filesystem::path& file,
                         const std::vector<Override>& overrides,
                         const FurtherProblems& further = {},
                         MissingProfiles missing_profiles = MissingProfiles::kRefused) {
  for (const Override& change : overrides) {
    document.set(change.key, change.value, promote, problems);
  }
  Experiment experiment{.file = file};
  ObjectReader object(Field(document, problems));
  std::string schema;
  object.read_any("$schema", schema);  // for editors
  if (const auto cluster = object.require("cluster")) {
    experiment.cluster = read_cluster(*cluster);
  }
  const auto training = object.find("training");
  const auto jobs = object.find("jobs");
  if (training && jobs) {
    jobs->problem("is given beside \"training\": keep one of the two");
  } else if (!training && !jobs && object.is_object()) {
    object.field().problem("key \"training\" is missing");
  }
  if (training) {
    experiment.training =
        read_training(*training,
                      {.folder = file.parent_path(), .world_size = experiment.cluster.world_size()},
                      problems,
                      experiment.warnings);
    check_host_memory(*training, experiment.training, experiment.cluster);
  }
  if (jobs) {
    experiment.jobs = read_jobs(*jobs, experiment, problems, experiment.warnings);
    if (!training && !experiment.jobs.empty()) {
      experiment.training = experiment.jobs.front().training;
    }
  }
  if (const auto failures = object.find("failures")) {
    experiment.failures = read_failures(*failures);
  }
  experiment.prices = read_prices(object, experiment.cluster);
  if (const auto events = object.find("events")) {
    for (const Field& element : events->elements()) {
      if (auto event = read_event(element, experiment)) {
        experiment.events.push_back(std::move(*event));
      }
    }
  }
  if (const auto profiles = object.find("profiles")) {
    read_profiles(*profiles, experiment, missing_profiles);
  }
  object.finish();
  if (!problems.empty() && further) {
    for (std::string& problem : further(experiment)) {
      problems.add(std::move(problem));
    }
  }
  problems.throw_if_any();
  return experiment;
}

const DocumentValue* member(const DocumentValue& value, std::string_view key) {
  const auto* object = std::get_if<DocumentValue::Object>(&value.value);
  if (object == nullptr) {
    return nullptr;
  }
  const auto found = std::ranges::find(*object, key, &DocumentMember::key);
  return found == object->end() ? nullptr : &found->value;
}

// What `resolved` wrote states the world size, which no person writes.
bool is_resolved(const DocumentValue& root) {
  const DocumentValue* cluster = member(root, "cluster");
  return cluster != nullptr && member(*cluster, "world_size") != nullptr;
}

}  // namespace

Experiment read_experiment(const std::filesystem::path& file,
                           const std::vector<Override>& overrides,
                           const FurtherProblems& further,
                           MissingProfiles missing_profiles) {
  Problems problems;
  Document document = Document::read(file, problems);
  if (is_resolved(document.root())) {
    const std::string text = as_written(to_json(document.root())).dump(2);
    document = Document::parse(text, file.string(), problems);
    // Its paths are those of the program that wrote it, not relative to the run directory.
    Experiment experiment =
        read_document(document, problems, {}, overrides, further, missing_profiles);
    experiment.file = file;
    return experiment;
  }
  return read_document(document, problems, file, overrides, further, missing_profiles);
}

Experiment experiment_from_text(std::string_view text,
                                const std::filesystem::path& file,
                                const std::vector<Override>& overrides) {
  Problems problems;
  Document document = Document::parse(text, file.string(), problems);
  return read_document(document, problems, file, overrides);
}

std::string experiment_text(const std::filesystem::path& file) {
  Problems problems;
  const Document document = Document::read(file, problems);
  problems.throw_if_any();
  if (is_resolved(document.root())) {
    return as_written(to_json(document.root())).dump(2);
  }
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return std::move(text).str();
}

std::string text_with_overrides(std::string_view text,
                                const std::filesystem::path& file,
                                const std::vector<Override>& overrides,
                                const std::optional<std::filesystem::path>& folder) {
  Problems problems;
  Document document = Document::parse(text, file.string(), problems);
  for (const Override& change : overrides) {
    document.set(change.key, change.value, promote, problems);
  }
  problems.throw_if_any();
  nlohmann::json json = to_json(document.root());
  if (folder) {
    const auto move = [&](nlohmann::json& path) {
      if (path.is_string() && !std::filesystem::path(path.get<std::string>()).is_absolute()) {
        const std::filesystem::path place =
            std::filesystem::absolute(file).parent_path() / path.get<std::string>();
        path = place.lexically_normal()
                   .lexically_proximate(std::filesystem::absolute(*folder).lexically_normal())
                   .string();
      }
    };
    for (const char* pointer :
         {"/training/deepspeed_config", "/training/dataset/path", "/training/checkpoint/path"}) {
      const nlohmann::json::json_pointer at(pointer);
      if (json.contains(at)) {
        move(json[at]);
      }
    }
    for (const char* pointer : {"/cluster/nodes", "/cluster/links"}) {
      const nlohmann::json::json_pointer at(pointer);
      if (json.contains(at) && json[at].is_array()) {
        nlohmann::json kept = nlohmann::json::array();
        std::ranges::copy_if(json[at], std::back_inserter(kept), [](const nlohmann::json& element) {
          return !element.is_null();
        });
        json[at] = std::move(kept);
      }
    }
    if (json.contains("profiles") && json["profiles"].is_array()) {
      for (nlohmann::json& path : json["profiles"]) {
        move(path);
      }
    }
  }
  return json.dump(2) + "\n";
}

std::vector<const TrainingSpec*> trainings(const Experiment& experiment) {
  std::vector<const TrainingSpec*> all;
  for (const JobSpec& job : experiment.jobs) {
    all.push_back(&job.training);
  }
  if (all.empty()) {
    all.push_back(&experiment.training);
  }
  return all;
}

}  // namespace vitsim
