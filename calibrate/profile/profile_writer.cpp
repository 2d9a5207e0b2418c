// Profiles as files: plain numbers, the unit in the key.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/profile/profile.h"
#include "models/document/atomic_file.h"

namespace vitsim {

namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson json_of(const Provenance& provenance) {
  return {
      {"sources", provenance.sources}, {"tool", provenance.tool}, {"created", provenance.created}};
}

OrderedJson json_of(const Spread& spread) {
  OrderedJson json = OrderedJson::object();
  const auto add = [&](const char* key, const auto& value) {
    if (value) {
      json[key] = *value;
    }
  };
  add("step_sigma", spread.step_sigma);
  add("unit_sigma", spread.unit_sigma);
  add("run_sigma", spread.run_sigma);
  add("run_degrees", spread.run_degrees);
  return json;
}

OrderedJson json_of(const FitQuality& fit) {
  return {{"runs", fit.runs}, {"mean_abs_error", fit.mean_abs_error}, {"worst", fit.worst}};
}

OrderedJson json_of(const StepCurve& curve) {
  OrderedJson json;
  auto named = vit_variant(curve.model.name);
  if (named) {
    named->image_size = curve.model.image_size;
    named->channels = curve.model.channels;
    named->classes = curve.model.classes;
  }
  if (named == curve.model) {
    json["model"] = curve.model.name;
  } else {
    json["model"] = {{"name", curve.model.name},
                     {"layers", curve.model.layers},
                     {"width", curve.model.width},
                     {"heads", curve.model.heads},
                     {"mlp", curve.model.mlp},
                     {"patch", curve.model.patch}};
  }
  json["image_size"] = curve.model.image_size;
  json["channels"] = curve.model.channels;
  json["classes"] = curve.model.classes;
  json["precision"] = name(curve.precision);
  json["optimizer"] = name(curve.optimizer);
  json["points"] = OrderedJson::array();
  for (const StepPoint& point : curve.points) {
    json["points"].push_back({{"micro_batch", point.micro_batch},
                              {"data_load_s", point.data_load.value()},
                              {"forward_s", point.forward.value()},
                              {"backward_s", point.backward.value()},
                              {"optimizer_s", point.optimizer.value()},
                              {"other_s", point.other.value()},
                              {"count", point.count}});
  }
  return json;
}

OrderedJson json_of(const OperatorCurve& curve) {
  OrderedJson json = {{"kind", curve.kind},
                      {"precision", name(curve.precision)},
                      {"flops_per_s", curve.flops_per_s.value()},
                      {"bytes_per_s", curve.bytes_per_s.value()},
                      {"overhead_s", curve.overhead.value()},
                      {"fused_attention", curve.fused_attention}};
  if (curve.error) {
    json["error"] = *curve.error;
  }
  return json;
}

OrderedJson json_of(const OperatorRates& rates) {
  OrderedJson json = {{"precision", name(rates.precision)},
                      {"gemm_forward_flops_per_s", rates.gemm_forward.value()},
                      {"gemm_backward_flops_per_s", rates.gemm_backward.value()},
                      {"gemm_inner_width", rates.gemm_inner},
                      {"gemm_tile_outputs", rates.gemm_outputs},
                      {"attention_flops_per_s", rates.attention.value()},
                      {"convolution_flops_per_s", rates.convolution.value()},
                      {"memory_bytes_per_s", rates.memory.value()},
                      {"elements_per_s", rates.elements},
                      {"kernel_start_s", rates.kernel_start.value()},
                      {"forward_factor", rates.forward_factor},
                      {"backward_factor", rates.backward_factor}};
  if (rates.qkv_split != QkvSplit::kSelect) {
    json["qkv_split"] = kQkvSplitNames[static_cast<std::size_t>(rates.qkv_split)];
  }
  if (rates.head) {
    json["head_flops_per_s"] = rates.head->value();
  }
  if (rates.error) {
    json["error"] = *rates.error;
  }
  return json;
}

OrderedJson json_of(const HostLaunch& host) {
  OrderedJson json = {{"forward_launch_s", host.forward.value()},
                      {"backward_launch_s", host.backward.value()}};
  if (host.collective > Seconds(0)) {
    json["collective_launch_s"] = host.collective.value();
  }
  if (host.sigma) {
    json["sigma"] = *host.sigma;
  }
  return json;
}

}  // namespace

std::string profile_text(const GpuProfile& profile) {
  OrderedJson json;
  json["schema"] = fmt::format("{}/1", kProfileSchema);
  json["kind"] = "gpu";
  json["name"] = profile.name;
  json["device"] = OrderedJson::object();
  if (!profile.device_name.empty()) {
    json["device"]["name"] = profile.device_name;
  }
  if (profile.memory) {
    json["device"]["memory_bytes"] = profile.memory->value();
  }
  json["provenance"] = json_of(profile.provenance);
  json["steps"] = OrderedJson::array();
  for (const StepCurve& curve : profile.steps) {
    json["steps"].push_back(json_of(curve));
  }
  json["operators"] = OrderedJson::array();
  for (const OperatorCurve& curve : profile.operators) {
    json["operators"].push_back(json_of(curve));
  }
  if (!profile.rates.empty()) {
    json["rates"] = OrderedJson::array();
    for (const OperatorRates& rates : profile.rates) {
      json["rates"].push_back(json_of(rates));
    }
  }
  if (profile.host) {
    json["host"] = json_of(*profile.host);
  }
  if (!profile.notes.empty()) {
    json["notes"] = profile.notes;
  }
  json["overlap_slowdown"] = profile.overlap_slowdown;
  json["spread"] = json_of(profile.spread);
  json["epoch_start_s"] = profile.epoch_start.value();
  for (const LoaderTimes& times : profile.loaders) {
    OrderedJson loader = {{"dataset", times.dataset},
                          {"image_size", times.image_size},
                          {"channels", times.channels},
                          {"cores", times.cores},
                          {"compute_threads", times.compute_threads}};
    for (const LoaderPoint& point : times.points) {
      loader["points"].push_back(
          {{"workers", point.workers}, {"seconds_per_image", point.per_image.value()}});
    }
    json["loaders"].push_back(std::move(loader));
  }
  if (!profile.intra_node.empty()) {
    json["intra_node"] = profile.intra_node;
  }
  json["memory"]["alone_bytes"] = profile.memory_alone.value();
  json["memory"]["activation_factor"] = profile.activation_factor;
  if (profile.memory_constant) {
    json["memory"]["constant_bytes"] = profile.memory_constant->value();
  }
  json["fit"] = json_of(profile.fit);
  return json.dump(2) + "\n";
}

std::string profile_text(const LinkProfile& profile) {
  OrderedJson json;
  json["schema"] = fmt::format("{}/1", kProfileSchema);
  json["kind"] = "link";
  json["name"] = profile.name;
  json["provenance"] = json_of(profile.provenance);
  json["latency_s"] = profile.latency.value();
  json["bandwidth_bytes_per_s"] = profile.bandwidth.value();
  if (!profile.curve.empty()) {
    json["curve"] = OrderedJson::array();
    for (const LinkPoint& point : profile.curve) {
      json["curve"].push_back({{"message_bytes", point.message.value()},
                               {"latency_s", point.latency.value()},
                               {"bandwidth_bytes_per_s", point.bandwidth.value()}});
    }
  }
  json["collective_overhead_s"] = profile.collective_overhead.value();
  for (const CollectiveTimes& times : profile.collectives) {
    OrderedJson table = {{"kind", times.kind}, {"ranks", times.ranks}};
    for (const CollectivePoint& point : times.points) {
      table["points"].push_back({{"bytes", point.bytes.value()}, {"time_s", point.time.value()}});
    }
    json["collectives"].push_back(std::move(table));
  }
  json["spread"] = json_of(profile.spread);
  json["fit"] = json_of(profile.fit);
  return json.dump(2) + "\n";
}

void write_profile(const std::filesystem::path& file, const GpuProfile& profile) {
  write_file_atomically(file, profile_text(profile));
}

void write_profile(const std::filesystem::path& file, const LinkProfile& profile) {
  write_file_atomically(file, profile_text(profile));
}

}  // namespace vitsim
