#include "calibrate/measurement/measurement.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "models/document/atomic_file.h"
#include "models/document/document.h"
#include "models/document/document_reader.h"
#include "models/document/words.h"
#include "models/error.h"

// The checksum covers the device, the runs and the samples as this program prints them, not the
// bytes of the file: reformatting a file does not break it, changing a figure does. Figures are
// printed with the fewest digits that read back as the same double, so that reading and printing
// again gives the same text.

namespace vitsim {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kFamily = "vitsim-measurement/";
constexpr int kVersion = 1;

/// Bytes that are no UTF-8 (a log may hold any) become the replacement character.
std::string print(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json vit_to_json(const VitSpec& vit) {
  Json json;
  json["name"] = vit.name;
  json["layers"] = vit.layers;
  json["width"] = vit.width;
  json["heads"] = vit.heads;
  json["mlp"] = vit.mlp;
  json["patch"] = vit.patch;
  json["image_size"] = vit.image_size;
  json["channels"] = vit.channels;
  json["classes"] = vit.classes;
  return json;
}

Json run_to_json(const RecordedRun& run) {
  Json json;
  json["name"] = run.name;
  if (!run.cluster.empty()) {
    json["cluster"] = run.cluster;
  }
  json["one_node"] = run.one_node;
  if (!run.link.empty()) {
    json["link"] = run.link;
  }
  json["gpus"] = run.gpus;
  json["model"] = vit_to_json(run.model);
  json["precision"] = name(run.precision);
  json["precision_inferred"] = run.precision_inferred;
  json["optimizer"] = name(run.optimizer);
  json["gradient_sync"] = name(run.gradient_sync);
  json["micro_batch"] = run.micro_batch;
  json["accumulation"] = run.accumulation;
  json["epochs"] = run.epochs;
  json["samples"] = run.samples;
  if (run.qkv_split != QkvSplit::kSelect) {
    json["qkv_split"] = kQkvSplitNames[static_cast<std::size_t>(run.qkv_split)];
  }
  json["wall_clock_breakdown"] = run.wall_clock_breakdown;
  return json;
}

/// Figures of "memory" are bytes: the key says so.
std::string_view figures_key(std::string_view what) {
  return what == "memory" ? "bytes" : "seconds";
}

Json sample_to_json(const Sample& sample) {
  const PlainSample form = plain(sample);
  Json json;
  json["what"] = form.what;
  if (!sample.run.empty()) {
    json["run"] = sample.run;
  }
  Json& parameters = json["parameters"] = Json::object();
  for (const auto& [key, value] : form.text) {
    parameters[key] = value;
  }
  for (const auto& [key, value] : form.number) {
    parameters[key] = value;
  }
  json[std::string(figures_key(form.what))] = form.figures;
  json["warm_up"] = sample.warm_up;
  json["disturbed"] = sample.disturbed;
  return json;
}

std::string checksum(const Measurement& measurement) {
  uLong crc = crc32(0, nullptr, 0);
  const auto add = [&](const std::string& text) {
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(text.data()), text.size());
  };
  add(print(measurement.device));
  if (!measurement.devices.empty()) {
    add(print(measurement.devices));
  }
  for (const RecordedRun& run : measurement.runs) {
    add(print(run_to_json(run)));
  }
  for (const Sample& sample : measurement.samples) {
    add(print(sample_to_json(sample)));
  }
  return fmt::format("crc32:{:08x}", crc);
}

constexpr double kMostFigure = 1e18;
constexpr std::int64_t kMostCount = 1'000'000'000'000'000;

template <typename Read>
void for_each_element(const std::optional<Field>& list, Read read) {
  if (!list) {
    return;
  }
  for (const Field& element : list->elements()) {
    if (list->problems_full()) {
      return;
    }
    read(element);
  }
}

std::vector<std::string> read_words(const std::optional<Field>& list) {
  std::vector<std::string> words;
  for_each_element(list, [&](const Field& element) {
    if (auto word = element.text()) {
      words.push_back(std::move(*word));
    }
  });
  return words;
}

/// Text of any length, none included.
std::optional<std::string> any_text(const Field& field) {
  const auto* text = std::get_if<std::string>(&field.value().value);
  return text == nullptr ? std::nullopt : std::optional(*text);
}

/// An object whose members are all text, by key; nothing for none.
std::map<std::string, std::string> read_texts(const std::optional<Field>& field) {
  std::map<std::string, std::string> texts;
  if (!field) {
    return texts;
  }
  ObjectReader known(*field);
  for (const Field& entry : known.unknown()) {
    if (auto text = any_text(entry)) {
      texts[entry.path().substr(field->path().size() + 1)] = std::move(*text);
    } else {
      entry.problem("must be a string");
    }
  }
  return texts;
}

std::string required_text(ObjectReader& reader, std::string_view key) {
  const std::optional<Field> field = reader.require(key);
  return field ? field->text().value_or("") : "";
}

/// A measurement holds up to millions of figures: they are looked at without their paths.
std::vector<double> read_figures(const std::optional<Field>& list) {
  std::vector<double> figures;
  if (!list) {
    return figures;
  }
  const auto* array = std::get_if<DocumentValue::Array>(&list->value().value);
  if (array == nullptr) {
    list->problem("must be a list of numbers");
    return figures;
  }
  for (const DocumentValue& value : *array) {
    double figure = -1;
    if (const auto* whole = std::get_if<std::int64_t>(&value.value)) {
      figure = static_cast<double>(*whole);
    } else if (const auto* real = std::get_if<double>(&value.value)) {
      figure = *real;
    }
    if (!(figure >= 0 && figure <= kMostFigure)) {
      list->problem(fmt::format("entry {} is not a number of at least 0", figures.size()));
      return figures;
    }
    figures.push_back(figure);
  }
  return figures;
}

VitSpec read_vit(const Field& field) {
  VitSpec vit;
  ObjectReader reader(field);
  reader.read("name", vit.name);
  reader.read("layers", vit.layers, 1, kMostCount);
  reader.read("width", vit.width, 1, kMostCount);
  reader.read("heads", vit.heads, 1, kMostCount);
  reader.read("mlp", vit.mlp, 1, kMostCount);
  reader.read("patch", vit.patch, 1, kMostCount);
  reader.read("image_size", vit.image_size, 1, kMostCount);
  reader.read("channels", vit.channels, 1, kMostCount);
  reader.read("classes", vit.classes, 1, kMostCount);
  reader.finish();
  return vit;
}

RecordedRun read_run(const Field& field) {
  RecordedRun run;
  ObjectReader reader(field);
  run.name = required_text(reader, "name");
  reader.read("cluster", run.cluster);
  reader.read("one_node", run.one_node);
  reader.read("link", run.link);
  run.gpus = read_words(reader.require("gpus"));
  if (const auto model = reader.require("model")) {
    run.model = read_vit(*model);
  }
  reader.read("precision", run.precision, kPrecisionNames);
  reader.read("precision_inferred", run.precision_inferred);
  reader.read("optimizer", run.optimizer, kOptimizerNames);
  reader.read("gradient_sync", run.gradient_sync, kGradientSyncNames);
  for_each_element(reader.require("micro_batch"), [&](const Field& element) {
    if (const auto size = element.integer(1, kMostCount)) {
      run.micro_batch.push_back(*size);
    }
  });
  reader.read("accumulation", run.accumulation, 1, kMostCount);
  reader.read("epochs", run.epochs, 0, kMostCount);
  reader.read("samples", run.samples, 0, kMostCount);
  reader.read("qkv_split", run.qkv_split, kQkvSplitNames);
  reader.read("wall_clock_breakdown", run.wall_clock_breakdown);
  reader.finish();
  return run;
}

Sample read_sample(const Field& field) {
  PlainSample form;
  std::string run;
  ObjectReader reader(field);
  form.what = required_text(reader, "what");
  reader.read("run", run);
  if (const auto parameters = reader.require("parameters")) {
    ObjectReader known(*parameters);
    for (const Field& parameter : known.unknown()) {
      const std::string key = parameter.path().substr(parameters->path().size() + 1);
      if (auto text = any_text(parameter)) {
        form.text[key] = std::move(*text);
      } else if (const auto number = parameter.number({})) {
        form.number[key] = *number;
      }
    }
  }
  form.figures = read_figures(reader.require(figures_key(form.what)));
  Sample sample = typed(std::move(form));
  sample.run = std::move(run);
  reader.read("warm_up", sample.warm_up, 0, kMostCount);
  reader.read("disturbed", sample.disturbed);
  reader.finish();
  return sample;
}

/// Throws unless the file names this schema in this version.
void check_schema(const Document& document) {
  std::string schema;
  if (const auto* object = std::get_if<DocumentValue::Object>(&document.root().value)) {
    const auto found = std::ranges::find(*object, "schema", &DocumentMember::key);
    if (found != object->end()) {
      if (const auto* text = std::get_if<std::string>(&found->value.value)) {
        schema = *text;
      }
    }
  }
  if (!schema.starts_with(kFamily)) {
    throw UserError(fmt::format("{}: not a measurement: its \"schema\" is not \"{}{}\"",
                                document.origin(),
                                kFamily,
                                kVersion));
  }
  if (schema != fmt::format("{}{}", kFamily, kVersion)) {
    throw UserError(fmt::format("{}: schema \"{}\" is of another vitsim; this one reads \"{}{}\"",
                                document.origin(),
                                schema,
                                kFamily,
                                kVersion));
  }
}

Measurement read_document(const Document& document, Problems& problems) {
  check_schema(document);
  Measurement measurement;
  ObjectReader reader(Field(document, problems));
  required_text(reader, "schema");
  reader.read("device", measurement.device);
  measurement.devices = read_texts(reader.find("devices"));
  measurement.environment = read_texts(reader.require("environment"));
  for_each_element(reader.require("runs"),
                   [&](const Field& run) { measurement.runs.push_back(read_run(run)); });
  for_each_element(reader.require("samples"), [&](const Field& sample) {
    measurement.samples.push_back(read_sample(sample));
  });
  measurement.warnings = read_words(reader.require("warnings"));
  const std::string stated = required_text(reader, "checksum");
  reader.finish();
  problems.throw_if_any();
  if (const std::string computed = checksum(measurement); computed != stated) {
    throw UserError(
        fmt::format("{}: edited or damaged: its samples have checksum {}, the file says {}. "
                    "Measure or import again; a measurement is not meant to be edited",
                    document.origin(),
                    computed,
                    stated));
  }
  return measurement;
}

// A week of steps of a large run, with all phases, is some ten million figures.
constexpr DocumentOptions kOptions = {.bytes = 1'000'000'000, .values = 100'000'000};

}  // namespace

std::string link_name(const RecordedRun& run) {
  if (!run.link.empty()) {
    return run.link;
  }
  if (run.cluster.empty()) {
    return run.one_node ? "node" : "network";
  }
  const std::string_view end = run.one_node ? "-node" : "-ethernet";
  return run.cluster.ends_with(end) ? run.cluster : run.cluster + std::string(end);
}

const RecordedRun* Measurement::find_run(std::string_view name) const {
  const auto found = std::ranges::find(runs, name, &RecordedRun::name);
  return found == runs.end() ? nullptr : &*found;
}

void add_devices(Measurement& to, const std::map<std::string, std::string>& devices) {
  std::vector<std::string> problems;
  for (const auto& [name, device] : devices) {
    const auto [known, fresh] = to.devices.try_emplace(name, device);
    if (!fresh && known->second != device) {
      problems.push_back(
          fmt::format("{} is both {} and {}: measure each device under a --name of its own",
                      in_quotes(name),
                      in_quotes(known->second),
                      in_quotes(device)));
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

Measurement read_measurement(const std::filesystem::path& file) {
  Problems problems;
  return read_document(Document::read(file, problems, kOptions), problems);
}

Measurement measurement_from_text(std::string_view text, const std::string& origin) {
  Problems problems;
  return read_document(Document::parse(text, origin, problems, kOptions), problems);
}

std::string to_text(const Measurement& measurement) {
  std::ostringstream out;
  const auto list = [&](std::string_view key, const auto& elements, auto to_json) {
    out << fmt::format("  \"{}\": [", key);
    bool first = true;
    for (const auto& element : elements) {
      out << (first ? "\n    " : ",\n    ") << print(to_json(element));
      first = false;
    }
    out << (first ? "],\n" : "\n  ],\n");
  };
  out << fmt::format("{{\n  \"schema\": \"{}{}\",\n", kFamily, kVersion);
  out << fmt::format("  \"device\": {},\n", print(measurement.device));
  if (!measurement.devices.empty()) {
    out << fmt::format("  \"devices\": {},\n", print(measurement.devices));
  }
  out << fmt::format("  \"environment\": {},\n", print(measurement.environment));
  list("runs", measurement.runs, run_to_json);
  list("samples", measurement.samples, sample_to_json);
  list("warnings", measurement.warnings, [](const std::string& text) { return Json(text); });
  out << fmt::format("  \"checksum\": \"{}\"\n}}\n", checksum(measurement));
  return out.str();
}

void write_measurement(const std::filesystem::path& file, const Measurement& measurement) {
  write_file_atomically(file, to_text(measurement));
}

}  // namespace vitsim
