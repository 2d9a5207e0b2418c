#include "models/experiment/resolved.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vitsim {

namespace {

using Json = nlohmann::json;

Json with_count(Json json, const LinkSpec& link) {
  if (link.count > 1) {
    json["count"] = link.count;
  }
  return json;
}

Json json_of(const LinkSpec& link) {
  if (link.profile || link.sheet) {
    Json json;
    json[link.sheet ? "link" : "profile"] = link.sheet ? *link.sheet : *link.profile;
    return with_count(std::move(json), link);
  }
  Json json = {{"latency_s", link.latency.value_or(Seconds(0)).value()}};
  if (link.bandwidth) {
    json["bandwidth_bytes_per_s"] = link.bandwidth->value();
  }
  return with_count(std::move(json), link);
}

Json json_of(const NodeSpec& node) {
  Json json = {{"name", node.name}, {"gpus", Json::array()}};
  for (const GpuSpec& gpu : node.gpus) {
    json["gpus"].push_back({{"model", gpu.model}, {"slowdown", gpu.slowdown}});
  }
  if (node.nic) {
    json["nic"] = json_of(*node.nic);
  }
  if (node.switch_name) {
    json["switch"] = *node.switch_name;
  }
  if (node.intra_node) {
    json["intra_node"] = json_of(*node.intra_node);
  }
  if (node.host) {
    json["host"] = *node.host;
  }
  if (node.host_memory) {
    json["host_memory_bytes"] = node.host_memory->value();
  }
  return json;
}

Json json_of(const ClusterSpec& cluster) {
  Json json = {{"nodes", Json::array()},
               {"switches", cluster.switches},
               {"links", Json::array()},
               {"world_size", cluster.world_size()}};
  for (const NodeSpec& node : cluster.nodes) {
    json["nodes"].push_back(json_of(node));
  }
  for (const TrunkSpec& trunk : cluster.links) {
    Json link = json_of(trunk.link);
    link["ends"] = {trunk.a, trunk.b};
    json["links"].push_back(std::move(link));
  }
  if (cluster.network) {
    json["network"] = json_of(*cluster.network);
  }
  json["intra_node"] = json_of(cluster.intra_node.value_or(
      LinkSpec{.bandwidth = kPcie3Bandwidth, .latency = kPcie3Latency}));
  json["intra_node"]["assumed"] = !cluster.intra_node.has_value();
  return json;
}

Json json_of(const VitSpec& vit) {
  if (vit.is_token_model()) {
    return {{"name", vit.name},
            {"layers", vit.layers},
            {"width", vit.width},
            {"heads", vit.heads},
            {"mlp", vit.mlp},
            {"tokens", vit.text_tokens},
            {"vocabulary", vit.vocabulary},
            {"causal", vit.causal}};
  }
  return {{"name", vit.name},
          {"layers", vit.layers},
          {"width", vit.width},
          {"heads", vit.heads},
          {"mlp", vit.mlp},
          {"patch", vit.patch}};
}

Json json_of(const DatasetSpec& dataset) {
  Json json = {{"name", dataset.name}, {"fraction", dataset.fraction}};
  json["samples"] = dataset.samples > 0 ? Json(dataset.samples) : Json(nullptr);
  json["path"] = dataset.path ? Json(dataset.path->string()) : Json(nullptr);
  return json;
}

Json json_of(const OptimizerSpec& optimizer) {
  Json json = {{"type", name(optimizer.kind)},
               {"lr", optimizer.lr},
               {"weight_decay", optimizer.weight_decay},
               {"momentum", optimizer.momentum},
               {"betas", optimizer.betas},
               {"eps", optimizer.eps}};
  if (optimizer.kind > OptimizerKind::kLamb) {
    json["freeze_step"] = optimizer.freeze_step;
  }
  return json;
}

Json json_of(const ScheduleSpec& schedule) {
  Json json = {{"type", kScheduleNames[static_cast<std::size_t>(schedule.kind)]},
               {"warmup_steps", schedule.warmup_steps},
               {"warmup_start", schedule.warmup_start},
               {"warmup_type", schedule.warmup_log ? "log" : "linear"},
               {"final_fraction", schedule.final_fraction}};
  json["total_steps"] = schedule.total_steps ? Json(*schedule.total_steps) : Json(nullptr);
  return json;
}

Json json_of(const CheckpointSpec& checkpoint) {
  Json json = {{"every", checkpoint.is_automatic ? Json("auto") : Json(checkpoint.every)}};
  if (checkpoint.every_time) {
    json["every_s"] = checkpoint.every_time->value();
  }
  if (checkpoint.bandwidth) {
    json["bandwidth_bytes_per_s"] = checkpoint.bandwidth->value();
  }
  if (checkpoint.is_asynchronous) {
    json["asynchronous"] = true;
  }
  json["path"] = checkpoint.path ? Json(checkpoint.path->string()) : Json(nullptr);
  json["cost_s"] = checkpoint.cost ? Json(checkpoint.cost->value()) : Json(nullptr);
  return json;
}

Json json_of(const LossScaleSpec& scale) {
  return {{"fixed", scale.fixed},
          {"initial_power", scale.initial_power},
          {"window", scale.window},
          {"hysteresis", scale.hysteresis},
          {"consecutive_hysteresis", scale.consecutive_hysteresis},
          {"minimum", scale.minimum}};
}

Json json_of(const ZeroSpec& zero) {
  Json json = {{"reduce_bucket_size", zero.reduce_bucket_size},
               {"allgather_bucket_size", zero.allgather_bucket_size},
               {"contiguous_gradients", zero.contiguous_gradients},
               {"use_multi_rank_bucket_allreduce", zero.multi_rank_bucket_allreduce},
               {"prefetch_bucket_size", zero.prefetch_bucket_size},
               {"param_persistence_threshold", zero.param_persistence_threshold},
               {"max_live_parameters", zero.max_live_parameters},
               {"max_reuse_distance", zero.max_reuse_distance}};
  if (zero.overlap_comm) {
    json["overlap_comm"] = *zero.overlap_comm;
  }
  return json;
}

Json json_of(const FsdpSpec& fsdp) {
  Json json = {{"reshard_after_forward", fsdp.reshard_after_forward}};
  if (fsdp.shard_ranks) {
    json["shard_ranks"] = *fsdp.shard_ranks;
  }
  if (fsdp.reduce_precision) {
    json["reduce_precision"] = name(*fsdp.reduce_precision);
  }
  return json;
}

template <class Names, class Enum>
std::string_view word_of(const Names& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

Json json_of(const ParallelismSpec& split) {
  Json json = {{"tensor", split.tensor}};
  if (split.pipeline.stages > 1) {
    json["pipeline"] = {{"stages", split.pipeline.stages},
                        {"schedule", word_of(kPipelineScheduleNames, split.pipeline.schedule)},
                        {"chunks", split.pipeline.chunks}};
    if (split.pipeline.micro_batches) {
      json["pipeline"]["micro_batches"] = *split.pipeline.micro_batches;
    }
  }
  if (split.sequence) {
    json["sequence"] = {{"kind", word_of(kSequenceKindNames, split.sequence->kind)},
                        {"ranks", split.sequence->ranks},
                        {"pad", split.sequence->pad}};
  }
  if (split.shards.by_memory) {
    json["shards"] = "by-memory";
  } else if (!split.shards.proportions.empty()) {
    json["shards"] = split.shards.proportions;
  }
  return json;
}

// What splits and shrinks the work, where it differs from plain data parallelism.
void add_parallelism(Json& json, const TrainingSpec& training) {
  if (training.zero != ZeroSpec{}) {
    json["zero"] = json_of(training.zero);
  }
  if (training.fsdp != FsdpSpec{}) {
    json["fsdp"] = json_of(training.fsdp);
  }
  if (training.parallelism != ParallelismSpec{}) {
    json["parallelism"] = json_of(training.parallelism);
  }
  if (training.recompute != Recompute::kNone) {
    json["recompute"] = word_of(kRecomputeNames, training.recompute);
  }
  if (training.offload.any()) {
    json["offload"] = {{"optimizer", word_of(kOffloadTargetNames, training.offload.optimizer)},
                       {"parameters", word_of(kOffloadTargetNames, training.offload.parameters)}};
  }
  if (training.communication_hook) {
    const HookSpec& hook = *training.communication_hook;
    json["communication_hook"] = {{"type", word_of(kHookNames, hook.kind)}};
    if (hook.kind == HookKind::kPowerSgd) {
      json["communication_hook"]["rank"] = hook.rank;
      json["communication_hook"]["start_step"] = hook.start_step;
    }
  }
  if (training.local_updates) {
    json["local_updates"] = {{"type", word_of(kLocalUpdatesNames, training.local_updates->kind)},
                             {"every", training.local_updates->every}};
  }
}

Json json_of(const TrainingSpec& training) {
  Json json = {
      {"model", json_of(training.model)},
      {"image_size", training.model.image_size},
      {"channels", training.model.channels},
      {"classes", training.model.classes},
      {"dataset", json_of(training.dataset)},
      {"gradient_accumulation_steps", training.accumulation},
      {"epochs", training.epochs},
      {"precision", name(training.precision)},
      {"optimizer", json_of(training.optimizer)},
      {"label_smoothing", training.label_smoothing},
      {"seed", training.seed},
      {"augment", {{"flip", training.augment.flip}, {"crop", training.augment.crop}}},
      {"evaluate", training.evaluate},
      {"loader", {{"workers", training.loader.workers}, {"pinned", training.loader.pinned}}},
      {"gradient_sync", name(training.gradient_sync)},
      {"all_reduce", name(training.all_reduce)}};
  add_parallelism(json, training);
  json["micro_batch_per_gpu"] =
      training.micro_batch.size() == 1 ? Json(training.micro_batch[0]) : Json(training.micro_batch);
  json["schedule"] = training.schedule ? json_of(*training.schedule) : Json(nullptr);
  json["clip_norm"] = training.clip_norm ? Json(*training.clip_norm) : Json(nullptr);
  json["checkpoint"] = training.checkpoint ? json_of(*training.checkpoint) : Json(nullptr);
  if (training.precision == Precision::kFp16 || training.precision == Precision::kAmpFp16) {
    json["loss_scale"] = json_of(training.loss_scale);
  }
  json["deepspeed_config"] =
      training.deepspeed_config ? Json(training.deepspeed_config->string()) : Json(nullptr);
  return json;
}

Json json_of(const DisturbanceSpec& event) {
  Json json = {{"from_s", event.from.value()}, {"to_s", event.to.value()}};
  switch (event.what) {
    case DisturbanceSpec::What::kSlowdown:
      json["what"] = "slowdown";
      json["rank"] = event.rank;
      json["factor"] = event.factor;
      break;
    case DisturbanceSpec::What::kPause:
      json["what"] = "pause";
      json["rank"] = event.rank;
      break;
    case DisturbanceSpec::What::kFailure:
      return {{"what", "failure"},
              {"rank", event.rank},
              {"at_s", event.from.value()},
              {"restart_s", (event.to - event.from).value()}};
    case DisturbanceSpec::What::kLink:
      json["what"] = "link";
      json["bandwidth_bytes_per_s"] = event.bandwidth.value();
      if (event.node.empty()) {
        json["ends"] = event.ends;
      } else {
        json["node"] = event.node;
      }
      break;
  }
  return json;
}

Json json_of(const FailureSpec& failures) {
  return {{"mean_time_between_s", failures.mean_time_between.value()},
          {"per", word_of(kFailureUnitNames, failures.per)},
          {"restart_s", failures.restart.value()},
          {"on_failure", word_of(kOnFailureNames, failures.on_failure)}};
}

// What hours and watts cost, where the file says anything of it.
void add_prices(Json& json, const PriceSpec& prices) {
  if (!prices.per_gpu_hour.empty()) {
    json["prices"] = prices.per_gpu_hour;
  }
  if (!prices.currency.empty()) {
    json["currency"] = prices.currency;
  }
  for (const auto& [gpu, power] : prices.power) {
    json["power_w"][gpu] = power.value();
  }
  if (prices.pue != PriceSpec{}.pue) {
    json["pue"] = prices.pue;
  }
  if (prices.g_co2e_per_kwh != PriceSpec{}.g_co2e_per_kwh) {
    json["g_co2e_per_kwh"] = prices.g_co2e_per_kwh;
  }
}

// Replaces `key_s` or the like by `key` with text of 17 digits, which is the same double again.
void give_unit(Json& object, const std::string& plain, const std::string& key, const char* unit) {
  const auto found = object.find(plain);
  if (found == object.end()) {
    return;
  }
  if (found->is_number()) {
    object[key] = fmt::format("{:.17g}{}", found->get<double>(), unit);
  }
  object.erase(plain);
}

// Drops nulls, which say that something is absent, everywhere.
void drop_nulls(Json& json) {
  if (json.is_object()) {
    for (auto entry = json.begin(); entry != json.end();) {
      entry = entry->is_null() ? json.erase(entry) : std::next(entry);
    }
  }
  if (json.is_structured()) {
    for (Json& value : json) {
      drop_nulls(value);
    }
  }
}

void write_units(Json& json) {
  if (json.is_object()) {
    give_unit(json, "bandwidth_bytes_per_s", "bandwidth", "B/s");
    give_unit(json, "host_memory_bytes", "host_memory", "B");
    give_unit(json, "latency_s", "latency", "s");
    give_unit(json, "from_s", "from", "s");
    give_unit(json, "to_s", "to", "s");
    give_unit(json, "start_s", "start", "s");
    give_unit(json, "cost_s", "cost", "s");
    give_unit(json, "every_s", "every", "s");
    give_unit(json, "at_s", "at", "s");
    give_unit(json, "restart_s", "restart", "s");
    give_unit(json, "mean_time_between_s", "mean_time_between", "s");
    for (const char* derived : {"world_size", "assumed", "deepspeed_config", "loss_scale"}) {
      json.erase(derived);
    }
  }
  if (json.is_structured()) {
    for (Json& value : json) {
      write_units(value);
    }
  }
}

}  // namespace

nlohmann::json as_written(nlohmann::json resolved) {
  Json& cluster = resolved["cluster"];
  if (const auto path = cluster.find("intra_node");
      path != cluster.end() && path->is_object() && path->value("assumed", false)) {
    cluster.erase(path);
  }
  if (const auto power = resolved.find("power_w"); power != resolved.end()) {
    for (const auto& [gpu, watts] : power->items()) {
      resolved["power"][gpu] = fmt::format("{:.17g}W", watts.get<double>());
    }
    resolved.erase("power_w");
  }
  drop_nulls(resolved);
  write_units(resolved);
  return resolved;
}

nlohmann::json resolved(const Experiment& experiment) {
  Json json = {{"cluster", json_of(experiment.cluster)}, {"events", Json::array()}};
  for (const DisturbanceSpec& event : experiment.events) {
    json["events"].push_back(json_of(event));
  }
  if (experiment.failures) {
    json["failures"] = json_of(*experiment.failures);
  }
  add_prices(json, experiment.prices);
  if (experiment.jobs.empty()) {
    json["training"] = json_of(experiment.training);
  } else {
    json["jobs"] = Json::array();
    for (const JobSpec& job : experiment.jobs) {
      json["jobs"].push_back({{"name", job.name},
                              {"ranks", job.ranks},
                              {"start_s", job.start.value()},
                              {"training", json_of(job.training)}});
    }
  }
  json["profiles"] = Json::array();
  for (const auto& profile : experiment.profiles) {
    json["profiles"].push_back(profile.string());
  }
  return json;
}

}  // namespace vitsim
