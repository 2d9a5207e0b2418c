#include "calibrate/measurement.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

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
  return {
      {      "name",       vit.name},
      {    "layers",     vit.layers},
      {     "width",      vit.width},
      {     "heads",      vit.heads},
      {       "mlp",        vit.mlp},
      {     "patch",      vit.patch},
      {"image_size", vit.image_size},
      {  "channels",   vit.channels},
      {   "classes",    vit.classes}
  };
}

Json run_to_json(const RecordedRun& run) {
  return {
      {                "name",                 run.name},
      {             "cluster",              run.cluster},
      {            "one_node",             run.one_node},
      {                "gpus",                 run.gpus},
      {               "model",   vit_to_json(run.model)},
      {           "precision",      name(run.precision)},
      {  "precision_inferred",   run.precision_inferred},
      {           "optimizer",      name(run.optimizer)},
      {       "gradient_sync",  name(run.gradient_sync)},
      {         "micro_batch",          run.micro_batch},
      {        "accumulation",         run.accumulation},
      {              "epochs",               run.epochs},
      {             "samples",              run.samples},
      {"wall_clock_breakdown", run.wall_clock_breakdown}
  };
}

/// Figures of "memory" are bytes: the key says so.
std::string_view figures_key(std::string_view what) {
  return what == "memory" ? "bytes" : "seconds";
}

Json sample_to_json(const Sample& sample) {
  Json parameters = Json::object();
  for (const auto& [key, value] : sample.text) {
    parameters[key] = value;
  }
  for (const auto& [key, value] : sample.number) {
    parameters[key] = value;
  }
  Json json = {
      {                  "what",           sample.what},
      {            "parameters", std::move(parameters)},
      {figures_key(sample.what),        sample.seconds},
      {               "warm_up",        sample.warm_up},
      {             "disturbed",      sample.disturbed}
  };
  if (!sample.run.empty()) {
    json["run"] = sample.run;
  }
  return json;
}

std::string checksum(const Measurement& measurement) {
  uLong crc = crc32(0, nullptr, 0);
  const auto add = [&](const std::string& text) {
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(text.data()), text.size());
  };
  add(print(measurement.device));
  for (const RecordedRun& run : measurement.runs) {
    add(print(run_to_json(run)));
  }
  for (const Sample& sample : measurement.samples) {
    add(print(sample_to_json(sample)));
  }
  return fmt::format("crc32:{:08x}", crc);
}

/// Looks up the keys of one object and complains with its path.
class Fields {
 public:
  Fields(const Json& json, std::string path, std::vector<std::string>& problems)
      : json_(json), path_(std::move(path)), problems_(problems) {
    if (!json_.is_object()) {
      problems_.push_back(fmt::format("{}: not an object", path_));
    }
  }

  /// Puts the value of `key` into `target`; a problem if it is missing or of another kind.
  template <typename T>
  void get(std::string_view key, T& target) {
    const Json* value = find(key);
    if (value == nullptr) {
      if (json_.is_object()) {
        problems_.push_back(fmt::format("{}: \"{}\" is missing", path_, key));
      }
      return;
    }
    try {
      value->get_to(target);
    } catch (const Json::exception&) {
      problems_.push_back(
          fmt::format("{}/{}: {} does not belong here", path_, key, value->type_name()));
    }
  }

  /// The same for a word of a list of names.
  template <typename T, typename Lookup>
  void get_word(std::string_view key, T& target, Lookup lookup) {
    std::string word;
    const std::size_t before = problems_.size();
    get(key, word);
    if (problems_.size() != before) {
      return;
    }
    if (const std::optional<T> found = lookup(word)) {
      target = *found;
    } else {
      problems_.push_back(fmt::format("{}/{}: \"{}\" is unknown", path_, key, word));
    }
  }

  [[nodiscard]] const Json* find(std::string_view key) const {
    if (!json_.is_object()) {
      return nullptr;
    }
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const Json& json_;
  std::string path_;
  std::vector<std::string>& problems_;
};

template <typename T, std::size_t N>
std::optional<T> word_in(const std::array<std::string_view, N>& names, std::string_view word) {
  const auto found = std::ranges::find(names, word);
  return found == names.end() ? std::nullopt : std::optional(static_cast<T>(found - names.begin()));
}

RecordedRun run_from_json(Fields fields, std::vector<std::string>& problems) {
  RecordedRun run;
  fields.get("name", run.name);
  fields.get("cluster", run.cluster);
  fields.get("one_node", run.one_node);
  fields.get("gpus", run.gpus);
  if (const Json* model = fields.find("model")) {
    Fields vit(*model, fields.path() + "/model", problems);
    vit.get("name", run.model.name);
    vit.get("layers", run.model.layers);
    vit.get("width", run.model.width);
    vit.get("heads", run.model.heads);
    vit.get("mlp", run.model.mlp);
    vit.get("patch", run.model.patch);
    vit.get("image_size", run.model.image_size);
    vit.get("channels", run.model.channels);
    vit.get("classes", run.model.classes);
  } else {
    problems.push_back(fmt::format("{}: \"model\" is missing", fields.path()));
  }
  fields.get_word("precision", run.precision, precision_from_name);
  fields.get("precision_inferred", run.precision_inferred);
  fields.get_word("optimizer", run.optimizer, [](std::string_view word) {
    return word_in<OptimizerKind>(kOptimizerNames, word);
  });
  fields.get_word("gradient_sync", run.gradient_sync, [](std::string_view word) {
    return word_in<GradientSync>(kGradientSyncNames, word);
  });
  fields.get("micro_batch", run.micro_batch);
  fields.get("accumulation", run.accumulation);
  fields.get("epochs", run.epochs);
  fields.get("samples", run.samples);
  fields.get("wall_clock_breakdown", run.wall_clock_breakdown);
  return run;
}

Sample sample_from_json(Fields fields, std::vector<std::string>& problems) {
  Sample sample;
  fields.get("what", sample.what);
  if (fields.find("run") != nullptr) {
    fields.get("run", sample.run);
  }
  if (const Json* parameters = fields.find("parameters");
      parameters != nullptr && parameters->is_object()) {
    for (const auto& [key, value] : parameters->items()) {
      if (value.is_string()) {
        sample.text[key] = value.get<std::string>();
      } else if (value.is_number()) {
        sample.number[key] = value.get<double>();
      } else {
        problems.push_back(
            fmt::format("{}/parameters/{}: neither text nor number", fields.path(), key));
      }
    }
  } else {
    problems.push_back(fmt::format("{}: \"parameters\" is missing", fields.path()));
  }
  fields.get(figures_key(sample.what), sample.seconds);
  if (std::ranges::any_of(sample.seconds, [](double figure) { return !(figure >= 0); })) {
    problems.push_back(fmt::format("{}: a figure is negative", fields.path()));
  }
  fields.get("warm_up", sample.warm_up);
  fields.get("disturbed", sample.disturbed);
  return sample;
}

/// Reads every element of the list `key`, at most twenty problems of it.
template <typename Read>
void read_list(Fields& top, std::string_view key, std::vector<std::string>& problems, Read read) {
  const Json* list = top.find(key);
  if (list == nullptr || !list->is_array()) {
    problems.push_back(fmt::format("{}: list \"{}\" is missing", top.path(), key));
    return;
  }
  constexpr std::size_t kMostProblems = 20;
  for (std::size_t i = 0; i < list->size() && problems.size() < kMostProblems; ++i) {
    read(Fields((*list)[i], fmt::format("{}/{}/{}", top.path(), key, i), problems));
  }
}

/// Throws unless `json` names this schema in this version.
void check_schema(const Json& json, const std::string& origin) {
  const auto found = json.is_object() ? json.find("schema") : json.end();
  const std::string schema = json.is_object() && found != json.end() && found->is_string()
                                 ? found->get<std::string>()
                                 : "";
  if (!schema.starts_with(kFamily)) {
    throw UserError(fmt::format(
        "{}: not a measurement: its \"schema\" is not \"{}{}\"", origin, kFamily, kVersion));
  }
  if (schema != fmt::format("{}{}", kFamily, kVersion)) {
    throw UserError(fmt::format("{}: schema \"{}\" is of another vitsim; this one reads \"{}{}\"",
                                origin,
                                schema,
                                kFamily,
                                kVersion));
  }
}

Json parse(std::istream& stream, const std::string& origin) {
  try {
    return Json::parse(stream);
  } catch (const Json::parse_error& error) {
    throw UserError(fmt::format("{}: cut or damaged: {}", origin, error.what()));
  }
}

}  // namespace

const RecordedRun* Measurement::find_run(std::string_view name) const {
  const auto found = std::ranges::find(runs, name, &RecordedRun::name);
  return found == runs.end() ? nullptr : &*found;
}

Measurement read_measurement(std::istream& stream, const std::string& origin) {
  const Json json = parse(stream, origin);
  check_schema(json, origin);
  std::vector<std::string> problems;
  Fields top(json, origin + ":", problems);
  Measurement measurement;
  std::string stated;
  top.get("device", measurement.device);
  top.get("environment", measurement.environment);
  top.get("warnings", measurement.warnings);
  top.get("checksum", stated);
  read_list(top, "runs", problems, [&](const Fields& fields) {
    measurement.runs.push_back(run_from_json(fields, problems));
  });
  read_list(top, "samples", problems, [&](const Fields& fields) {
    measurement.samples.push_back(sample_from_json(fields, problems));
  });
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  if (const std::string computed = checksum(measurement); computed != stated) {
    throw UserError(fmt::format(
        "{}: edited or damaged: its samples have checksum {}, the file says {}. Measure "
        "or import again; a measurement is not meant to be edited",
        origin,
        computed,
        stated));
  }
  return measurement;
}

Measurement read_measurement(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw UserError(fmt::format("{}: cannot be read", file.string()));
  }
  return read_measurement(stream, file.string());
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
  out << fmt::format("  \"environment\": {},\n", print(measurement.environment));
  list("runs", measurement.runs, run_to_json);
  list("samples", measurement.samples, sample_to_json);
  list("warnings", measurement.warnings, [](const std::string& text) { return Json(text); });
  out << fmt::format("  \"checksum\": \"{}\"\n}}\n", checksum(measurement));
  return out.str();
}

void write_measurement(const std::filesystem::path& file, const Measurement& measurement) {
  const std::filesystem::path temporary = file.string() + ".part";
  {
    std::ofstream stream(temporary, std::ios::binary);
    stream << to_text(measurement);
    stream.close();
    if (!stream) {
      std::error_code ignored;
      std::filesystem::remove(temporary, ignored);
      throw DeviceError(fmt::format("{}: cannot be written", temporary.string()));
    }
  }
  std::filesystem::rename(temporary, file);
}

}  // namespace vitsim
