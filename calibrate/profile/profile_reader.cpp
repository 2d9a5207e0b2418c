// Profiles and data sheets from their files: plain numbers, the unit in the key.
#include <algorithm>

#include <fmt/format.h>

#include "calibrate/profile/profile.h"
#include "models/document/document_reader.h"
#include "models/document/words.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::string_view kSheetSchema = "vitsim-gpu";
constexpr std::string_view kLinkSheetSchema = "vitsim-link";
constexpr std::int64_t kMostSamples = 1'000'000'000'000;
constexpr Range kDuration{.least = 0, .most = 1e9};
constexpr Range kSpeed{.least = 0, .most = 1e21, .above_least = true};
constexpr Range kSpeedOrNone{.least = 0, .most = 1e21};
constexpr Range kSize{.least = 0, .most = 1e18, .above_least = true};
constexpr Range kSigma{.least = 0, .most = 10};
constexpr Range kFactor{.least = 0, .most = 1e6, .above_least = true};
constexpr Range kShare{.least = 0, .most = 1e6};

template <class Q>
void read_quantity(ObjectReader& object, std::string_view key, Q& target, const Range& range) {
  double value = target.value();
  object.read(key, value, range);
  target = Q(value);
}

template <class Q>
void require_quantity(ObjectReader& object, std::string_view key, Q& target, const Range& range) {
  if (const auto field = object.require(key)) {
    target = Q(field->number(range).value_or(1));
  }
}

template <class Q>
std::optional<Q> find_quantity(ObjectReader& object, std::string_view key, const Range& range) {
  const auto field = object.find(key);
  const auto value = field && !field->is_null() ? field->number(range) : std::nullopt;
  return value ? std::optional<Q>(Q(*value)) : std::nullopt;
}

std::string require_text(ObjectReader& object, std::string_view key) {
  const auto field = object.require(key);
  return field ? field->text().value_or("") : "";
}

Provenance read_provenance(ObjectReader& parent) {
  Provenance provenance;
  if (const auto field = parent.find("provenance")) {
    ObjectReader object(*field);
    if (const auto sources = object.find("sources")) {
      for (const Field& source : sources->elements()) {
        provenance.sources.push_back(source.text().value_or(""));
      }
    }
    object.read_any("tool", provenance.tool);
    object.read_any("created", provenance.created);
    object.finish();
  }
  return provenance;
}

Spread read_spread(ObjectReader& parent) {
  Spread spread;
  if (const auto field = parent.find("spread")) {
    ObjectReader object(*field, ObjectReader::Null::kIsAbsent);
    const auto sigma = [&](std::string_view key) {
      const auto found = object.find(key);
      return found ? found->number(kSigma) : std::nullopt;
    };
    spread.step_sigma = sigma("step_sigma");
    spread.unit_sigma = sigma("unit_sigma");
    spread.run_sigma = sigma("run_sigma");
    if (const auto degrees = object.find("run_degrees")) {
      if (const auto value = degrees->integer(1, 1'000'000)) {
        spread.run_degrees = static_cast<int>(*value);
      }
    }
    object.finish();
  }
  return spread;
}

FitQuality read_fit(ObjectReader& parent) {
  FitQuality fit;
  if (const auto field = parent.find("fit")) {
    ObjectReader object(*field);
    std::int64_t runs = 0;
    object.read("runs", runs, 0, 1'000'000);
    fit.runs = static_cast<int>(runs);
    object.read("mean_abs_error", fit.mean_abs_error, kShare);
    object.read("worst", fit.worst, {.least = -1e6, .most = 1e6});
    object.finish();
  }
  return fit;
}

VitSpec read_model(ObjectReader& object) {
  VitSpec vit;
  const auto field = object.require("model");
  if (field && field->is_string()) {
    const std::string word = field->text().value_or("");
    if (const auto variant = vit_variant(word)) {
      vit = *variant;
    } else if (!word.empty()) {
      std::vector<std::string> names;
      for (const VitSpec& known : vit_variants()) {
        names.push_back(known.name);
      }
      field->problem(fmt::format("unknown model {}{}", in_quotes(word), did_you_mean(word, names)));
    }
  } else if (field) {
    ObjectReader inner(*field);
    inner.read("name", vit.name);
    inner.read("layers", vit.layers, 1, 10'000);
    inner.read("width", vit.width, 1, 100'000);
    inner.read("heads", vit.heads, 1, 10'000);
    inner.read("mlp", vit.mlp, 1, 1'000'000);
    inner.read("patch", vit.patch, 1, 10'000);
    inner.finish();
  }
  object.read("image_size", vit.image_size, 1, 10'000);
  object.read("channels", vit.channels, 1, 1'000);
  object.read("classes", vit.classes, 1, 100'000'000);
  if (field && vit.image_size % vit.patch != 0) {
    field->problem(fmt::format(
        "image_size {} is not a multiple of the model's patch {}", vit.image_size, vit.patch));
  }
  return vit;
}

StepPoint read_point(const Field& field) {
  StepPoint point;
  ObjectReader object(field);
  if (const auto batch = object.require("micro_batch")) {
    point.micro_batch = batch->integer(1, 1'000'000'000).value_or(1);
  }
  read_quantity(object, "data_load_s", point.data_load, kDuration);
  const Range above_zero{.least = 0, .most = 1e9, .above_least = true};
  require_quantity(object, "forward_s", point.forward, above_zero);
  require_quantity(object, "backward_s", point.backward, above_zero);
  read_quantity(object, "optimizer_s", point.optimizer, kDuration);
  read_quantity(object, "other_s", point.other, kDuration);
  object.read("count", point.count, 0, kMostSamples);
  object.finish();
  return point;
}

StepCurve read_curve(const Field& field) {
  StepCurve curve;
  ObjectReader object(field);
  curve.model = read_model(object);
  object.read("precision", curve.precision, kPrecisionNames);
  object.read("optimizer", curve.optimizer, kOptimizerNames);
  if (const auto points = object.require("points")) {
    for (const Field& element : points->elements()) {
      curve.points.push_back(read_point(element));
    }
    if (points->is_array() && curve.points.empty()) {
      points->problem("must hold at least one point");
    }
    std::ranges::stable_sort(curve.points, {}, &StepPoint::micro_batch);
    const auto twice =
        std::ranges::adjacent_find(curve.points, std::ranges::equal_to(), &StepPoint::micro_batch);
    if (twice != curve.points.end()) {
      points->problem(fmt::format("micro_batch {} is given twice", twice->micro_batch));
    }
  }
  object.finish();
  return curve;
}

OperatorCurve read_operator(const Field& field) {
  OperatorCurve curve;
  ObjectReader object(field);
  if (const auto kind = object.require("kind")) {
    curve.kind = kOperatorCurveKinds[kind->choice(kOperatorCurveKinds).value_or(0)];
  }
  object.read("precision", curve.precision, kPrecisionNames);
  read_quantity(object, "flops_per_s", curve.flops_per_s, kSpeedOrNone);
  read_quantity(object, "bytes_per_s", curve.bytes_per_s, kSpeedOrNone);
  read_quantity(object, "overhead_s", curve.overhead, kDuration);
  object.read("fused_attention", curve.fused_attention);
  if (const auto error = object.find("error")) {
    curve.error = error->number(kShare);
  }
  const bool is_update = curve.kind == "optimizer";
  const bool is_pass = curve.kind == "forward" || curve.kind == "backward";
  const bool moves = curve.bytes_per_s.value() > 0;
  if ((is_update && !moves) || (is_pass && !moves && curve.flops_per_s.value() <= 0)) {
    field.problem(fmt::format("{} takes no time: {} must be above 0",
                              curve.kind,
                              is_update ? "bytes_per_s" : "flops_per_s or bytes_per_s"));
  }
  object.finish();
  return curve;
}

OperatorRates read_rates(const Field& field) {
  OperatorRates rates;
  ObjectReader object(field);
  object.read("precision", rates.precision, kPrecisionNames);
  require_quantity(object, "gemm_forward_flops_per_s", rates.gemm_forward, kSpeed);
  require_quantity(object, "gemm_backward_flops_per_s", rates.gemm_backward, kSpeed);
  object.read("gemm_inner_width", rates.gemm_inner, kShare);
  object.read("gemm_tile_outputs", rates.gemm_outputs, {.least = 0, .most = 1e12});
  require_quantity(object, "attention_flops_per_s", rates.attention, kSpeed);
  require_quantity(object, "convolution_flops_per_s", rates.convolution, kSpeed);
  require_quantity(object, "memory_bytes_per_s", rates.memory, kSpeed);
  if (const auto elements = object.require("elements_per_s")) {
    rates.elements = elements->number(kSpeed).value_or(1);
  }
  read_quantity(object, "kernel_start_s", rates.kernel_start, kDuration);
  object.read("forward_factor", rates.forward_factor, kFactor);
  object.read("backward_factor", rates.backward_factor, kFactor);
  object.read("qkv_split", rates.qkv_split, kQkvSplitNames);
  if (const auto head = object.find("head_flops_per_s")) {
    rates.head = FlopsPerSecond(head->number(kSpeed).value_or(1));
  }
  if (const auto error = object.find("error")) {
    rates.error = error->number(kShare);
  }
  object.finish();
  return rates;
}

std::optional<HostLaunch> read_host(ObjectReader& parent) {
  const auto field = parent.find("host");
  if (!field) {
    return std::nullopt;
  }
  HostLaunch host;
  ObjectReader object(*field);
  require_quantity(object, "forward_launch_s", host.forward, kDuration);
  require_quantity(object, "backward_launch_s", host.backward, kDuration);
  read_quantity(object, "collective_launch_s", host.collective, kDuration);
  if (const auto sigma = object.find("sigma")) {
    host.sigma = sigma->number(kSigma);
  }
  object.finish();
  return host;
}

void read_all_rates(ObjectReader& object, GpuProfile& profile) {
  if (const auto rates = object.find("rates")) {
    for (const Field& element : rates->elements()) {
      profile.rates.push_back(read_rates(element));
      const Precision precision = profile.rates.back().precision;
      if (std::ranges::count(profile.rates, precision, &OperatorRates::precision) > 1) {
        element.problem(fmt::format("rates in {} are given twice", name(precision)));
      }
    }
  }
  profile.host = read_host(object);
  if (const auto notes = object.find("notes")) {
    for (const Field& note : notes->elements()) {
      profile.notes.push_back(note.text().value_or(""));
    }
  }
}

LoaderTimes read_loader(const Field& field) {
  LoaderTimes times;
  ObjectReader object(field);
  times.dataset = require_text(object, "dataset");
  object.read("image_size", times.image_size, 1, 10'000);
  object.read("channels", times.channels, 1, 1'000);
  object.read("cores", times.cores, {.least = 0, .most = 1e6, .above_least = true});
  object.read("compute_threads", times.compute_threads, {.least = 0, .most = 1e6});
  if (const auto points = object.require("points")) {
    for (const Field& element : points->elements()) {
      LoaderPoint point;
      ObjectReader inner(element);
      inner.read("workers", point.workers, 1, 1'000'000);
      require_quantity(inner, "seconds_per_image", point.per_image, kDuration);
      if (point.per_image <= Seconds(0)) {
        element.problem("loading an image takes some time: seconds_per_image must be above 0");
      }
      inner.finish();
      times.points.push_back(point);
    }
    if (points->is_array() && times.points.empty()) {
      points->problem("must hold at least one point");
    }
    std::ranges::stable_sort(times.points, {}, &LoaderPoint::workers);
    if (std::ranges::adjacent_find(times.points, std::ranges::equal_to(), &LoaderPoint::workers) !=
        times.points.end()) {
      points->problem("gives a number of workers twice");
    }
  }
  object.finish();
  return times;
}

GpuProfile read_gpu(ObjectReader& object) {
  GpuProfile profile;
  profile.name = require_text(object, "name");
  if (const auto device = object.find("device")) {
    ObjectReader inner(*device);
    inner.read_any("name", profile.device_name);
    profile.memory = find_quantity<Bytes>(inner, "memory_bytes", kSize);
    inner.finish();
  }
  profile.provenance = read_provenance(object);
  if (const auto steps = object.find("steps")) {
    for (const Field& element : steps->elements()) {
      profile.steps.push_back(read_curve(element));
    }
  }
  if (const auto operators = object.find("operators")) {
    for (const Field& element : operators->elements()) {
      profile.operators.push_back(read_operator(element));
    }
  }
  read_all_rates(object, profile);
  object.read("overlap_slowdown", profile.overlap_slowdown, {.least = 1, .most = 1e6});
  read_quantity(object, "epoch_start_s", profile.epoch_start, kDuration);
  if (const auto loaders = object.find("loaders")) {
    for (const Field& element : loaders->elements()) {
      profile.loaders.push_back(read_loader(element));
    }
  }
  object.read_any("intra_node", profile.intra_node);
  profile.spread = read_spread(object);
  if (const auto memory = object.find("memory")) {
    ObjectReader inner(*memory);
    profile.memory_constant =
        find_quantity<Bytes>(inner, "constant_bytes", {.least = 0, .most = 1e18});
    read_quantity(inner, "alone_bytes", profile.memory_alone, {.least = 0, .most = 1e18});
    inner.read("activation_factor", profile.activation_factor, kFactor);
    inner.finish();
  }
  profile.fit = read_fit(object);
  return profile;
}

LinkPoint read_link_point(const Field& field) {
  LinkPoint point;
  ObjectReader object(field);
  require_quantity(object, "message_bytes", point.message, kSize);
  require_quantity(object, "latency_s", point.latency, kDuration);
  require_quantity(object, "bandwidth_bytes_per_s", point.bandwidth, kSpeed);
  object.finish();
  return point;
}

CollectiveTimes read_collective(const Field& field) {
  CollectiveTimes times;
  ObjectReader object(field);
  if (const auto kind = object.require("kind")) {
    times.kind = kCollectiveTableKinds[kind->choice(kCollectiveTableKinds).value_or(0)];
  }
  if (const auto ranks = object.require("ranks")) {
    times.ranks = ranks->integer(2, 100'000'000).value_or(2);
  }
  if (const auto points = object.require("points")) {
    for (const Field& element : points->elements()) {
      CollectivePoint point;
      ObjectReader inner(element);
      require_quantity(inner, "bytes", point.bytes, kSize);
      const Range above_zero{.least = 0, .most = 1e9, .above_least = true};
      require_quantity(inner, "time_s", point.time, above_zero);
      inner.finish();
      times.points.push_back(point);
    }
    if (points->is_array() && times.points.empty()) {
      points->problem("must hold at least one point");
    }
    std::ranges::stable_sort(times.points, {}, &CollectivePoint::bytes);
    const auto twice =
        std::ranges::adjacent_find(times.points, std::ranges::equal_to(), &CollectivePoint::bytes);
    if (twice != times.points.end()) {
      points->problem(fmt::format("bytes {} is given twice", twice->bytes.value()));
    }
  }
  object.finish();
  return times;
}

LinkProfile read_link(ObjectReader& object) {
  LinkProfile profile;
  profile.name = require_text(object, "name");
  profile.provenance = read_provenance(object);
  require_quantity(object, "latency_s", profile.latency, kDuration);
  require_quantity(object, "bandwidth_bytes_per_s", profile.bandwidth, kSpeed);
  if (const auto curve = object.find("curve")) {
    for (const Field& element : curve->elements()) {
      profile.curve.push_back(read_link_point(element));
    }
    std::ranges::stable_sort(profile.curve, {}, &LinkPoint::message);
    const auto twice =
        std::ranges::adjacent_find(profile.curve, std::ranges::equal_to(), &LinkPoint::message);
    if (twice != profile.curve.end()) {
      curve->problem(fmt::format("message_bytes {} is given twice", twice->message.value()));
    }
  }
  read_quantity(object, "collective_overhead_s", profile.collective_overhead, kDuration);
  if (const auto collectives = object.find("collectives")) {
    for (const Field& element : collectives->elements()) {
      profile.collectives.push_back(read_collective(element));
    }
  }
  profile.spread = read_spread(object);
  profile.fit = read_fit(object);
  return profile;
}

GpuSheet read_sheet(ObjectReader& object) {
  GpuSheet sheet;
  sheet.name = require_text(object, "name");
  object.read_any("device_name", sheet.device_name);
  object.read_any("architecture", sheet.architecture);
  require_quantity(object, "memory_bytes", sheet.memory, kSize);
  require_quantity(object, "memory_bandwidth_bytes_per_s", sheet.memory_bandwidth, kSpeed);
  require_quantity(object, "fp32_flops_per_s", sheet.fp32, kSpeed);
  sheet.tf32 = find_quantity<FlopsPerSecond>(object, "tf32_flops_per_s", kSpeed);
  sheet.fp16 = find_quantity<FlopsPerSecond>(object, "fp16_flops_per_s", kSpeed);
  sheet.bf16 = find_quantity<FlopsPerSecond>(object, "bf16_flops_per_s", kSpeed);
  if (const auto tdp = object.find("tdp_w")) {
    sheet.tdp_w = tdp->number({.least = 0, .most = 1e6, .above_least = true});
  }
  if (const auto slot = object.find("pcie")) {
    ObjectReader inner(*slot);
    PcieSlot pcie;
    if (const auto generation = inner.require("generation")) {
      pcie.generation = generation->integer(1, 10).value_or(1);
    }
    if (const auto lanes = inner.require("lanes")) {
      pcie.lanes = lanes->integer(1, 32).value_or(1);
    }
    inner.finish();
    sheet.pcie = pcie;
  }
  object.read_any("intra_node", sheet.intra_node);
  sheet.source = require_text(object, "source");
  return sheet;
}

LinkSheet read_link_sheet_keys(ObjectReader& object) {
  LinkSheet sheet;
  sheet.name = require_text(object, "name");
  object.read("kind", sheet.kind, kLinkKindNames);
  require_quantity(object, "bandwidth_bytes_per_s", sheet.bandwidth, kSpeed);
  require_quantity(object, "latency_s", sheet.latency, kDuration);
  object.read("switch_reduces", sheet.switch_reduces);
  const auto summed = object.find("switch_bandwidth_bytes_per_s");
  if (summed) {
    const auto value = summed->number(kSpeed);
    sheet.switch_bandwidth = value ? std::optional(BytesPerSecond(*value)) : std::nullopt;
    if (!sheet.switch_reduces) {
      summed->problem("is given for a link whose switch does not sum: set switch_reduces to true");
    }
  }
  object.read("through_host", sheet.through_host);
  if (const auto spread = object.require("spread")) {
    sheet.spread = spread->number(kSigma).value_or(0);
  }
  sheet.source = require_text(object, "source");
  return sheet;
}

std::optional<Part> read_kind(ObjectReader& object) {
  const auto schema = object.find("schema");
  const auto* const text = schema ? std::get_if<std::string>(&schema->value().value) : nullptr;
  if (text != nullptr && text->starts_with(kSheetSchema)) {
    return check_schema(object, kSheetSchema, 1) ? std::optional<Part>(read_sheet(object))
                                                 : std::nullopt;
  }
  if (text != nullptr && text->starts_with(kLinkSheetSchema)) {
    return check_schema(object, kLinkSheetSchema, 1)
               ? std::optional<Part>(read_link_sheet_keys(object))
               : std::nullopt;
  }
  if (!check_schema(object, kProfileSchema, 1)) {
    return std::nullopt;
  }
  static constexpr std::array<std::string_view, 2> kKinds = {"gpu", "link"};
  const auto kind = object.require("kind");
  const auto index = kind ? kind->choice(kKinds) : std::nullopt;
  if (!index) {
    return std::nullopt;
  }
  return *index == 0 ? Part(read_gpu(object)) : Part(read_link(object));
}

Part part_of(const Document& document, Problems& problems) {
  ObjectReader object(Field(document, problems));
  std::optional<Part> part;
  if (object.is_object()) {
    part = read_kind(object);
    if (part) {
      object.finish();
    }
  }
  problems.throw_if_any();
  return std::move(*part);
}

std::string_view kind_of(const Part& part) {
  static constexpr std::array<std::string_view, 4> kKinds = {
      "a GPU's profile", "a link's profile", "a GPU's data sheet", "a link's data sheet"};
  return kKinds[part.index()];
}

template <class T>
T read_as(const std::filesystem::path& file) {
  Part part = read_part(file);
  if (auto* const wanted = std::get_if<T>(&part)) {
    return std::move(*wanted);
  }
  throw UserError(
      fmt::format("{}: is {}, not {}", file.string(), kind_of(part), kind_of(Part(T()))));
}

}  // namespace

Part read_part(const std::filesystem::path& file) {
  Problems problems;
  const Document document = Document::read(file, problems);
  return part_of(document, problems);
}

Part part_from_text(std::string_view text, const std::string& origin) {
  Problems problems;
  const Document document = Document::parse(text, origin, problems);
  return part_of(document, problems);
}

GpuProfile read_gpu_profile(const std::filesystem::path& file) {
  return read_as<GpuProfile>(file);
}

LinkProfile read_link_profile(const std::filesystem::path& file) {
  return read_as<LinkProfile>(file);
}

GpuSheet read_gpu_sheet(const std::filesystem::path& file) {
  return read_as<GpuSheet>(file);
}

LinkSheet read_link_sheet(const std::filesystem::path& file) {
  return read_as<LinkSheet>(file);
}

}  // namespace vitsim
