// The JSON Schemas in configs/schemas against the readers: what is shipped or written is right by
// both, and at every object both know the same keys.
#include <filesystem>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "calibrate/measurement/measurement.h"
#include "calibrate/profile/profile.h"
#include "models/document/document.h"
#include "models/error.h"
#include "models/experiment/experiment.h"
#include "models/report/report.h"
#include "models/report/timeline.h"
#include "tests/support/json_schema_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;
using test::file_text;
using test::schema_errors;
using test::schema_objects;
using test::TemporaryFolder;

const std::filesystem::path kConfigs = VITSIM_SOURCE_DIR "/configs";

Json schema(const std::string& name) {
  return Json::parse(file_text(kConfigs / "schemas" / (name + ".schema.json")));
}

void expect_folder_is_right(const std::string& folder, const std::string& schema_name) {
  const Json rules = schema(schema_name);
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs / folder)) {
    if (entry.path().extension() == ".json") {
      EXPECT_THAT(schema_errors(rules, Json::parse(file_text(entry.path()))), IsEmpty())
          << entry.path();
    }
  }
}

TEST(Schema, ShippedFilesAreRight) {
  expect_folder_is_right("cluster", "cluster");
  expect_folder_is_right("models", "model");
  expect_folder_is_right("gpus", "gpu");
  expect_folder_is_right("links", "link");
  expect_folder_is_right("profiles", "profile");
}

template <typename Names>
void expect_names(const std::string& name, const std::string& pointer, const Names& names) {
  EXPECT_EQ(schema(name).at(Json::json_pointer(pointer + "/enum")), Json(names))
      << name << ".schema.json: " << pointer;
}

// Words that one of both does not know would be written and then refused.
TEST(Schema, WordsAreThoseOfTheProgram) {
  expect_names("report", "/$defs/span/properties/stream", kStreamNames);
  expect_names("report", "/$defs/span/properties/phase", kPhaseNames);
  expect_names("timeline", "/properties/stream", kStreamNames);
  expect_names("timeline", "/properties/phase", kPhaseNames);
  const std::string run = "/properties/runs/items/properties";
  expect_names("measurement", run + "/precision", kPrecisionNames);
  expect_names("measurement", run + "/optimizer", kOptimizerNames);
  expect_names("measurement", run + "/gradient_sync", kGradientSyncNames);
  expect_names("profile", "/$defs/curve/properties/precision", kPrecisionNames);
  expect_names("profile", "/$defs/curve/properties/optimizer", kOptimizerNames);
  expect_names("profile", "/$defs/rates/properties/precision", kPrecisionNames);
  const std::string training = "/$defs/training/properties";
  expect_names("cluster", training + "/precision", kPrecisionNames);
  expect_names("cluster", training + "/gradient_sync", kGradientSyncNames);
  expect_names("cluster", training + "/all_reduce", kAllReduceNames);
  expect_names("cluster", training + "/recompute", kRecomputeNames);
  expect_names("cluster", training + "/offload/properties/optimizer", kOffloadTargetNames);
  expect_names("cluster", training + "/communication_hook/properties/type", kHookNames);
  expect_names("cluster", training + "/local_updates/properties/type", kLocalUpdatesNames);
  expect_names("cluster", "/$defs/optimizer/properties/type", kOptimizerNames);
  expect_names("cluster", "/$defs/schedule/properties/type", kScheduleNames);
  expect_names("cluster", "/properties/failures/properties/per", kFailureUnitNames);
  expect_names("cluster", "/properties/failures/properties/on_failure", kOnFailureNames);
}

// The keys that a reader knows at a place of a document: it lists them when it meets one that
// resembles none.
std::set<std::string> known_keys(const Json& document,
                                 const std::string& path,
                                 const std::function<void(const std::string&)>& read) {
  Json changed = document;
  changed[Json::json_pointer(path)]["zzzzzzzzzz"] = 0;
  std::string message;
  try {
    read(changed.dump());
  } catch (const UserError& error) {
    message = error.what();
  }
  const std::string mark = "unknown key \"zzzzzzzzzz\"; known: ";
  const auto at = message.find(mark);
  if (at == std::string::npos) {
    ADD_FAILURE() << path << " lets an unknown key pass: " << message;
    return {};
  }
  std::string list = message.substr(at + mark.size());
  list = list.substr(0, list.find('\n')) + ", ";
  std::set<std::string> keys;
  for (std::size_t begin = 0; begin < list.size();) {
    const auto comma = list.find(", ", begin);
    keys.insert(list.substr(begin, comma - begin));
    begin = comma + 2;
  }
  return keys;
}

// Every object schema is met by one of the documents, and there schema and reader agree.
void expect_same_keys(const std::string& schema_name,
                      const std::vector<Json>& documents,
                      const std::function<void(const std::string&)>& read) {
  const Json rules = schema(schema_name);
  std::set<std::string> met;
  for (const Json& document : documents) {
    ASSERT_THAT(schema_errors(rules, document), IsEmpty());
    ASSERT_NO_THROW(read(document.dump()));
    for (const test::SchemaObject& object : schema_objects(rules, document)) {
      met.insert(object.schema_id);
      EXPECT_EQ(known_keys(document, object.path, read), object.keys)
          << schema_name << " " << object.path;
    }
  }
  EXPECT_EQ(met.size(), test::count_object_schemas(rules)) << "an object schema is never met";
}

Json one_training() {
  return Json::parse(R"({
    "model": {"name": "mine", "layers": 2, "width": 8, "heads": 2, "mlp": 16, "patch": 16},
    "dataset": {"name": "synthetic", "samples": 100},
    "micro_batch_per_gpu": [1, 2], "optimizer": {"betas": [0.9, 0.99]},
    "schedule": {"type": "cosine"}, "augment": {"flip": true},
    "checkpoint": {"cost": "2s"}, "loader": {"workers": 4}})");
}

TEST(Schema, ClusterKeysAreTheReaders) {
  Json trained = Json::parse(R"({
    "cluster": {
      "nodes": [{"name": "a", "gpus": [{"model": "x", "slowdown": 1.5}], "switch": "s",
                 "host_memory": "64GiB", "nic": {"bandwidth": "1Gbps", "latency": 0}},
                {"name": "b", "gpus": ["x"], "switch": "s", "host_memory": "64GiB",
                 "intra_node": {"profile": "p"}}, null],
      "network": {"link": "ib-ndr", "count": 8},
      "intra_node": {"link": "nvlink4"},
      "switches": ["s", "t"],
      "links": [{"ends": ["s", "t"], "bandwidth": "1GiB/s"}]},
    "events": [{"what": "slowdown", "rank": 0, "factor": 2, "from": 0, "to": "1s"},
               {"what": "pause", "rank": 0, "from": 0, "to": "1min"},
               {"what": "link", "node": "a", "bandwidth": "1Mbit/s", "from": 0, "to": "1h"},
               {"what": "failure", "rank": 1, "at": "2h"}],
    "failures": {"mean_time_between": "1000h"},
    "prices": {"x": 1.5, "currency": "EUR"}, "power": {"x": "100W"}, "pue": 1.1})");
  trained["training"] = one_training();
  Json jobs = trained;
  jobs.erase("training");
  Json job = {{"ranks", {0, 1}}, {"training", one_training()}};
  jobs["jobs"] = Json::array({job});
  Json split = trained;
  split["training"].update(Json::parse(R"({
    "gradient_sync": "deepspeed-zero-1", "gradient_accumulation_steps": 2,
    "micro_batch_per_gpu": 1,
    "zero": {}, "fsdp": {}, "offload": {"optimizer": "cpu"},
    "parallelism": {"pipeline": {"stages": 2}, "sequence": {"kind": "ring"}}})"));
  Json alone = trained;
  alone["training"].update(Json::parse(R"({
    "gradient_sync": "ddp", "local_updates": {"type": "local-sgd", "every": 8}})"));
  Json hooked = trained;
  hooked["training"].update(Json::parse(R"({
    "gradient_sync": "ddp", "communication_hook": {"type": "powersgd"}})"));
  expect_same_keys("cluster", {trained, jobs, split, alone, hooked}, [](const std::string& text) {
    (void)experiment_from_text(text, "c.json");
  });
}

TEST(Schema, ProfileKeysAreTheReaders) {
  const Json gpu = Json::parse(R"({"schema": "vitsim-profile/1", "kind": "gpu", "name": "g",
    "device": {}, "provenance": {}, "spread": {}, "fit": {}, "memory": {},
    "steps": [{"model": {"layers": 2, "width": 8, "heads": 2, "mlp": 16, "patch": 16},
               "points": [{"micro_batch": 1, "forward_s": 1, "backward_s": 1}]}],
    "operators": [{"kind": "gemm"}],
    "rates": [{"gemm_forward_flops_per_s": 1, "gemm_backward_flops_per_s": 1,
               "attention_flops_per_s": 1, "convolution_flops_per_s": 1, "memory_bytes_per_s": 1,
               "elements_per_s": 1}],
    "host": {"forward_launch_s": 1, "backward_launch_s": 1}, "notes": ["x"],
    "loaders": [{"dataset": "d", "points": [{"workers": 1, "seconds_per_image": 1}]}]})");
  const Json link = Json::parse(R"({"schema": "vitsim-profile/1", "kind": "link", "name": "l",
    "latency_s": 0, "bandwidth_bytes_per_s": 1,
    "curve": [{"message_bytes": 1, "latency_s": 0, "bandwidth_bytes_per_s": 1}],
    "collectives": [{"kind": "all-to-all", "ranks": 8, "points": [{"bytes": 8, "time_s": 1e-5}]}]})");
  const auto read = [](const std::string& text) { (void)part_from_text(text, "p.json"); };
  expect_same_keys("profile", {gpu, link}, read);
  expect_same_keys("gpu", {Json::parse(file_text(kConfigs / "gpus/rtx-3070.json"))}, read);
  expect_same_keys("link", {Json::parse(file_text(kConfigs / "links/nvlink4.json"))}, read);
}

TEST(Schema, ReportKeysAreTheReaders) {
  Report report{.resolved_json = "{}"};
  report.ranks.resize(2);
  report.ranks[1].largest_micro_batch = 7;
  report.ranks[1].memory.allocated_bytes = 3;
  report.ranks[1].memory.reserved_bytes = 4;
  report.ranks[1].power = GpuPower{.mean_w = 5, .peak_w = 6, .energy_j = 7};
  report.rank_classes = {{.count = 2, .phases = {.forward_s = 1}, .largest_micro_batch = 7}};
  report.verdict = {.limit = Verdict::Limit::kStraggler,
                    .stragglers = {{.ranks = RankSet(0)}},
                    .other_candidates = RankSet(1)};
  report.timeline = {{.rank = 1, .spans = {{.end_s = 1, .straggler_wait = true}}}};
  report.links = {{.name = "x", .kind = "nic"}};
  report.communication = {{.collective = "all-reduce", .algorithm = "ring"}};
  report.remarks = {"x"};
  report.disturbances = {{.what = "x", .cost_s = 1}};
  report.goodput = Goodput{.failures = 2};
  report.cost = RunCost{.gpu_hours = 1, .price = 2, .energy_kwh = 3, .co2e_kg = 4};
  report.basis = {{.part = "x", .kind = "given", .detail = "y"}};
  const Json predicted = to_json(report);
  report.source = "measured";
  expect_same_keys("report", {predicted, to_json(report)}, [](const std::string& text) {
    (void)report_from_text(text, "r.json");
  });
}

TEST(Schema, TimelineLinesAreRight) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "timeline.jsonl";
  write_timeline_lines(
      file,
      {.spans = {{.rank = 1, .phase = Phase::kEvaluate, .end_ns = 5, .straggler_wait = true}}});
  expect_same_keys("timeline", {Json::parse(file_text(file))}, [&](const std::string& text) {
    folder.write("timeline.jsonl", text + "\n");
    (void)read_timeline_lines(file);
  });
}

TEST(Schema, MeasurementKeysAreTheReaders) {
  Measurement measurement{.device = "imported", .environment = {{"torch", "2.11"}}};
  measurement.runs = {{.name = "run",
                       .cluster = "tesla",
                       .link = "wire",
                       .gpus = {"rtx-3070"},
                       .micro_batch = {16},
                       .qkv_split = QkvSplit::kUnbind}};
  measurement.samples = {{.series = EpochSeries{.seconds = {1.5}}, .run = "run"},
                         {.series = MemoryReading{.bytes = {8e9}}, .run = "run"}};
  expect_same_keys("measurement",
                   {Json::parse(to_text(measurement))},
                   [&](const std::string& text) { (void)measurement_from_text(text, "m.json"); });
}

// The schema refuses what the reader refuses.
TEST(Schema, MistakesAreMistakesForBoth) {
  const Json rules = schema("cluster");
  const Json right = Json::parse(file_text(kConfigs / "cluster/tesla-4gpu.json"));
  ASSERT_THAT(schema_errors(rules, right), IsEmpty());
  const std::vector<std::pair<std::string, Json>> mistakes = {
      {"/cluster/network", {{"bandwidth", 10}}},
      {"/cluster/network", {{"bandwidth", "10"}}},
      {"/cluster/network", {{"bandwidth", "-1Gbps"}}},
      {"/cluster/network", {{"bandwidth", "1Gbps"}, {"latency", "5"}}},
      {"/cluster/network", {{"bandwidth", "1Gbps"}, {"profile", "p"}}},
      {"/cluster/network", Json::object()},
      {"/cluster/network", {{"link", "ib-ndr"}, {"profile", "p"}}},
      {"/cluster/network", {{"link", "ib-ndr"}, {"count", 0}}},
      {"/cluster/nodes", Json::array()},
      {"/cluster/nodes/0/gpus", Json::array()},
      {"/cluster/nodes/0/count", 0},
      {"/training/epochs", 0},
      {"/training/epoch", 1},
      {"/training/model", "vit-b16"},
      {"/training/precision", "fp8"},
      {"/training/dataset/fraction", 0},
      {"/training/micro_batch_per_gpu", "16"},
  };
  for (const auto& [path, value] : mistakes) {
    Json wrong = right;
    wrong[Json::json_pointer(path)] = value;
    EXPECT_THAT(schema_errors(rules, wrong), Not(IsEmpty())) << path << value;
    EXPECT_THROW((void)experiment_from_text(wrong.dump(), "c.json"), UserError) << path << value;
  }
}

}  // namespace
}  // namespace vitsim
