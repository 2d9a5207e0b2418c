#include "models/experiment/training_reader.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/deepspeed_config.h"
#include "models/experiment/epoch.h"
#include "models/experiment/limits.h"
#include "models/experiment/parallelism_reader.h"

namespace vitsim {

namespace {

constexpr std::int64_t kMostSamples = 1'000'000'000'000;  // of a data set
constexpr Range kAboveZero{.least = 0, .most = 1e6, .above_least = true};
constexpr Range kFraction{.least = 0, .most = 1, .above_least = true};

VitSpec read_model(const Field& field) {
  VitSpec vit;
  if (field.is_string()) {
    const std::string word = field.text().value_or("");
    if (const auto variant = vit_variant(word)) {
      return *variant;
    }
    std::vector<std::string> names;
    for (const VitSpec& variant : vit_variants()) {
      names.push_back(variant.name);
    }
    if (!word.empty()) {
      field.problem(fmt::format("unknown model {}{}", in_quotes(word), did_you_mean(word, names)));
    }
    return vit;
  }
  if (!field.is_object()) {
    field.problem(
        fmt::format("must be a model's name or {{layers, width, heads, mlp, patch}} (token models: "
                    "tokens, vocabulary, causal), not {}",
                    field.value().kind()));
    return vit;
  }
  ObjectReader object(field);
  const auto whole = [&](std::string_view key, std::int64_t& target, std::int64_t most) {
    if (const auto found = object.require(key)) {
      target = found->integer(1, most).value_or(target);
    }
  };
  object.read("name", vit.name);
  whole("layers", vit.layers, 10'000);
  whole("width", vit.width, 100'000);
  whole("heads", vit.heads, 10'000);
  whole("mlp", vit.mlp, 1'000'000);
  if (object.find("vocabulary") || object.find("tokens")) {
    whole("tokens", vit.text_tokens, 10'000'000);
    whole("vocabulary", vit.vocabulary, 100'000'000);
  } else {
    whole("patch", vit.patch, 10'000);
  }
  object.read("causal", vit.causal);
  if (vit.causal && !vit.is_token_model()) {
    object.find("causal")->problem("belongs to token models: give \"tokens\" and \"vocabulary\"");
  }
  object.finish();
  if (vit.width % vit.heads != 0) {
    field.problem(fmt::format("width {} is not a multiple of heads {}", vit.width, vit.heads));
  }
  return vit;
}

DatasetSpec read_dataset(const Field& field, const std::filesystem::path& folder) {
  DatasetSpec dataset;
  dataset.where = field.where();
  ObjectReader object(field);
  if (const auto name = object.require("name")) {
    dataset.name = name->text().value_or("");
  }
  const bool is_cifar = dataset.name == "cifar10" || dataset.name == "cifar100";
  dataset.samples = is_cifar ? 50'000 : 0;
  const auto samples = object.find("samples");
  if (samples) {
    dataset.samples = samples->integer(1, kMostSamples).value_or(0);
  }
  object.read("fraction", dataset.fraction, kFraction);
  if (const auto path = object.find("path")) {
    if (const auto text = path->text()) {
      dataset.path = (folder / *text).lexically_normal();
    }
  }
  object.finish();
  if (is_cifar && samples && dataset.samples > 50'000) {
    samples->problem(fmt::format("{} has 50,000 training samples", dataset.name));
  }
  const bool counted_later = dataset.name == "image-folder" && dataset.path;
  if (!samples && dataset.samples == 0 && !counted_later && !dataset.name.empty()) {
    static const std::vector<std::string> kKnown = {
        "cifar10", "cifar100", "image-folder", "synthetic"};
    const auto near = nearest_word(dataset.name, kKnown);
    const bool is_known = std::ranges::find(kKnown, dataset.name) != kKnown.end();
    field.problem(fmt::format("data set {} needs \"samples\"{}{}",
                              in_quotes(dataset.name),
                              dataset.name == "image-folder" ? " or a \"path\"" : "",
                              near && !is_known ? did_you_mean(dataset.name, kKnown) : ""));
  }
  if (dataset.samples > 0 && subset_samples(dataset.samples, dataset.fraction) < 1) {
    field.problem(
        fmt::format("a fraction of {} of {} samples is none", dataset.fraction, dataset.samples));
  }
  return dataset;
}

std::vector<std::int64_t> read_micro_batch(const Field& field, std::int64_t world_size) {
  if (!field.is_array()) {
    return {field.integer(1, kMostRepeats).value_or(1)};
  }
  std::vector<std::int64_t> batches;
  for (const Field& element : field.elements()) {
    batches.push_back(element.integer(1, kMostRepeats).value_or(1));
  }
  if (world_size > 0 && batches.size() != static_cast<std::size_t>(world_size)) {
    field.problem(fmt::format("holds {} numbers for {} ranks: give one per rank, or one for all",
                              batches.size(),
                              world_size));
  }
  return batches;
}

OptimizerSpec read_optimizer(const Field& field) {
  OptimizerSpec optimizer;
  ObjectReader object(field);
  object.read("type", optimizer.kind, kOptimizerNames);
  object.read("lr", optimizer.lr, kAboveZero);
  object.read("weight_decay", optimizer.weight_decay, {.least = 0, .most = 1e6});
  object.read("momentum", optimizer.momentum, {.least = 0, .most = 1});
  object.read("eps", optimizer.eps, {.least = 0, .most = 1});
  object.read("freeze_step", optimizer.freeze_step, 0, 1'000'000'000'000);
  if (const auto betas = object.find("betas")) {
    const auto both = betas->elements();
    if (betas->is_array() && both.size() != 2) {
      betas->problem(fmt::format("must hold two numbers, not {}", both.size()));
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(both.size(), 2); ++i) {
      optimizer.betas[i] = both[i].number({.least = 0, .most = 1}).value_or(optimizer.betas[i]);
    }
  }
  object.finish();
  return optimizer;
}

ScheduleSpec read_schedule(const Field& field) {
  static constexpr std::array<std::string_view, 2> kWarmups = {"linear", "log"};
  ScheduleSpec schedule;
  ObjectReader object(field);
  if (const auto type = object.require("type")) {
    if (const auto index = type->choice(kScheduleNames)) {
      schedule.kind = static_cast<ScheduleKind>(*index);
    }
  }
  object.read("warmup_steps", schedule.warmup_steps, 0, kMostSteps);
  object.read("warmup_start", schedule.warmup_start, {.least = 0, .most = 1});
  std::size_t warmup = 0;
  if (const auto type = object.find("warmup_type")) {
    warmup = type->choice(kWarmups).value_or(0);
  }
  schedule.warmup_log = warmup == 1;
  object.read("final_fraction", schedule.final_fraction, {.least = 0, .most = 1});
  if (const auto total = object.find("total_steps")) {
    schedule.total_steps = total->integer(1, kMostSteps);
    if (schedule.total_steps && *schedule.total_steps < schedule.warmup_steps) {
      total->problem(fmt::format("is less than warmup_steps {}", schedule.warmup_steps));
    }
  }
  object.finish();
  return schedule;
}

AugmentSpec read_augment(const Field& field) {
  AugmentSpec augment;
  ObjectReader object(field);
  object.read("flip", augment.flip);
  object.read("crop", augment.crop);
  object.finish();
  return augment;
}

// So many steps, so much time, or "auto".
void read_every(const Field& field, CheckpointSpec& checkpoint) {
  if (!field.is_string()) {
    checkpoint.every = field.integer(0, 1'000'000'000'000).value_or(0);
  } else if (field.text() == "auto") {
    checkpoint.is_automatic = true;
  } else {
    checkpoint.every_time = field.seconds(Seconds(1e-3), Seconds(1e9));
  }
}

CheckpointSpec read_checkpoint(const Field& field, const std::filesystem::path& folder) {
  CheckpointSpec checkpoint{.where = field.where()};
  ObjectReader object(field);
  if (const auto every = object.find("every")) {
    read_every(*every, checkpoint);
  }
  if (const auto path = object.find("path")) {
    if (const auto text = path->text()) {
      checkpoint.path = (folder / *text).lexically_normal();
    }
  }
  if (const auto cost = object.find("cost")) {
    checkpoint.cost = cost->seconds(Seconds(0), Seconds(86'400));
  }
  if (const auto bandwidth = object.find("bandwidth")) {
    checkpoint.bandwidth = bandwidth->bandwidth();
    if (object.find("cost")) {
      bandwidth->problem("is given beside \"cost\", which says it already: keep one of the two");
    }
  }
  object.read("asynchronous", checkpoint.is_asynchronous);
  object.finish();
  if (checkpoint.is_automatic && !checkpoint.cost && !checkpoint.bandwidth) {
    field.problem(
        "\"every\": \"auto\" weighs what a checkpoint costs against what a failure loses: "
        "needs a \"cost\" (e.g. \"30s\") or the storage's \"bandwidth\" (e.g. \"2GB/s\")");
  }
  return checkpoint;
}

LoaderSpec read_loader(const Field& field) {
  LoaderSpec loader;
  ObjectReader object(field);
  object.read("workers", loader.workers, 1, 256);
  object.read("pinned", loader.pinned);
  object.finish();
  return loader;
}

void check_image(const ObjectReader& object, const VitSpec& vit) {
  if (!vit.is_token_model() && vit.image_size % vit.patch != 0) {
    object.field().problem(fmt::format(
        "image_size {} is not a multiple of the model's patch {}", vit.image_size, vit.patch));
  }
}

// Puts what a DeepSpeed configuration states into a training; what the training section states too
// must agree.
class DeepspeedMerge {
 public:
  DeepspeedMerge(ObjectReader& section, TrainingSpec& training)
      : section_(section), training_(training) {}

  void merge(const DeepspeedConfig& config) {
    merge_micro_batch(config.micro_batch);
    require_what_is_open(config);
    put("gradient_accumulation_steps", training_.accumulation, config.accumulation);
    merge_precision(config);
    merge_clip(config.clip_norm);
    put("gradient_sync", training_.gradient_sync, config.gradient_sync);
    if (!section_.find("gradient_sync") && !config.gradient_sync) {
      training_.gradient_sync = GradientSync::kDeepspeedZero0;  // DeepSpeed's default stage
    }
    put("zero", training_.zero, config.zero);
    put("offload", training_.offload, config.offload);
    merge_optimizer(config.optimizer);
    merge_schedule(config.schedule);
    training_.loss_scale = config.loss_scale.value_or(training_.loss_scale);
  }

 private:
  static void disagree(const Field& field, const std::string& there) {
    field.problem(fmt::format("disagrees with {}: make them equal or keep one", there));
  }

  // `field`: where the training section states it, if it does.
  template <class T>
  static void put(const std::optional<Field>& field,
                  T& target,
                  const std::optional<Stated<T>>& stated) {
    if (!stated) {
      return;
    }
    if (!field) {
      target = stated->value;
    } else if (target != stated->value) {
      disagree(*field, stated->where);
    }
  }

  template <class T>
  void put(std::string_view key, T& target, const std::optional<Stated<T>>& stated) {
    put(section_.find(key), target, stated);
  }

  void merge_micro_batch(const std::optional<Stated<std::int64_t>>& stated) {
    if (!stated) {
      return;
    }
    if (training_.micro_batch.empty()) {
      training_.micro_batch = {stated->value};
    } else if (std::ranges::any_of(training_.micro_batch,
                                   [&](std::int64_t batch) { return batch != stated->value; })) {
      disagree(*section_.find("micro_batch_per_gpu"), stated->where);
    }
  }

  /// Hugging Face's "auto" stands for what the training section states.
  void require_what_is_open(const DeepspeedConfig& config) {
    const auto ask = [&](const std::string& where, const char* key) {
      section_.field().problem(fmt::format(
          "key \"{}\" is missing: {} says \"auto\" and leaves it to this section", key, where));
    };
    if (config.open_micro_batch && training_.micro_batch.empty()) {
      ask(*config.open_micro_batch, "micro_batch_per_gpu");
    }
    if (config.open_precision && !section_.find("precision")) {
      ask(*config.open_precision, "precision");
    }
  }

  void merge_precision(const DeepspeedConfig& config) {
    put("precision", training_.precision, config.precision);
    const auto field = section_.find("precision");
    for (const Stated<Precision>& off : config.not_precision) {
      if (field && training_.precision == off.value) {
        disagree(*field, off.where);
      }
    }
  }

  void merge_clip(const std::optional<Stated<double>>& stated) {
    const auto field = section_.find("clip_norm");
    if (!stated) {
      return;
    }
    if (field && training_.clip_norm.value_or(0) != stated->value) {
      disagree(*field, stated->where);
    } else if (stated->value > 0) {
      training_.clip_norm = stated->value;
    }
  }

  void merge_optimizer(const DeepspeedConfig::Optimizer& config) {
    std::optional<ObjectReader> optimizer;
    if (const auto field = section_.find("optimizer"); field && field->is_object()) {
      optimizer.emplace(*field);
    }
    const auto put_key = [&](std::string_view key, auto& target, const auto& stated) {
      put(optimizer ? optimizer->find(key) : std::nullopt, target, stated);
    };
    put_key("type", training_.optimizer.kind, config.kind);
    put_key("lr", training_.optimizer.lr, config.lr);
    put_key("weight_decay", training_.optimizer.weight_decay, config.weight_decay);
    put_key("momentum", training_.optimizer.momentum, config.momentum);
    put_key("betas", training_.optimizer.betas, config.betas);
    put_key("eps", training_.optimizer.eps, config.eps);
    put_key("freeze_step", training_.optimizer.freeze_step, config.freeze_step);
  }

  void merge_schedule(const std::optional<Stated<ScheduleSpec>>& stated) {
    if (!stated) {
      return;
    }
    if (const auto field = section_.find("schedule"); !field) {
      training_.schedule = stated->value;
    } else if (training_.schedule != stated->value) {
      disagree(*field, stated->where);
    }
  }

  ObjectReader& section_;
  TrainingSpec& training_;
};

}  // namespace

TrainingSpec read_training(const Field& field,
                           const TrainingPlace& place,
                           Problems& problems,
                           std::vector<std::string>& warnings) {
  TrainingSpec training;
  ObjectReader object(field);
  if (const auto model = object.require("model")) {
    training.model = read_model(*model);
  }
  object.read("image_size", training.model.image_size, 1, 10'000);
  object.read("channels", training.model.channels, 1, 1'000);
  object.read("classes", training.model.classes, 1, 100'000'000);
  if (object.is_object()) {
    check_image(object, training.model);
  }
  if (const auto dataset = object.require("dataset")) {
    training.dataset = read_dataset(*dataset, place.folder);
  }
  if (const auto micro_batch = object.find("micro_batch_per_gpu")) {
    training.micro_batch = read_micro_batch(*micro_batch, place.world_size);
  }
  object.read("gradient_accumulation_steps", training.accumulation, 1, kMostRepeats);
  object.read("epochs", training.epochs, 1, kMostRepeats);
  object.read("precision", training.precision, kPrecisionNames);
  if (const auto optimizer = object.find("optimizer")) {
    training.optimizer = read_optimizer(*optimizer);
  }
  if (const auto schedule = object.find("schedule")) {
    training.schedule = read_schedule(*schedule);
  }
  if (const auto clip = object.find("clip_norm")) {
    training.clip_norm = clip->number(kAboveZero);
  }
  object.read("label_smoothing", training.label_smoothing, {.least = 0, .most = 1});
  std::int64_t seed = 1;
  object.read("seed", seed, 0, std::numeric_limits<std::int64_t>::max());
  training.seed = static_cast<std::uint64_t>(seed);
  if (const auto augment = object.find("augment")) {
    training.augment = read_augment(*augment);
  }
  object.read("evaluate", training.evaluate);
  if (const auto checkpoint = object.find("checkpoint")) {
    training.checkpoint = read_checkpoint(*checkpoint, place.folder);
  }
  if (const auto loader = object.find("loader")) {
    training.loader = read_loader(*loader);
  }
  object.read("gradient_sync", training.gradient_sync, kGradientSyncNames);
  read_parallelism(object, training);
  object.read("all_reduce", training.all_reduce, kAllReduceNames);
  const auto config = object.find("deepspeed_config");
  if (const auto text = config ? config->text() : std::nullopt) {
    training.deepspeed_config = (place.folder / *text).lexically_normal();
    try {
      DeepspeedMerge(object, training)
          .merge(read_deepspeed_config(
              *training.deepspeed_config, place.world_size, problems, warnings));
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems()) {
        problems.add(problem);
      }
    }
  }
  if (object.is_object()) {
    check_parallelism(object, training, place.world_size);
  }
  object.finish();
  if (training.micro_batch.empty() && object.is_object() && !config) {
    object.field().problem("key \"micro_batch_per_gpu\" is missing");
  }
  return training;
}

}  // namespace vitsim
