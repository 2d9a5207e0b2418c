// DeepSpeed's JSON as this project reads it.
//
// Three kinds of keys. Those modelled here are read and checked. Those that change nothing that is
// modelled (printing, monitoring) pass in silence. All others are named: the ones DeepSpeed knows
// as not modelled, unless they are switched off; the ones it does not know as ignored by DeepSpeed
// itself, which is how a misspelt batch size goes unnoticed there.
//
// Hugging Face's Trainer fills in values that say "auto". What changes no time passes as absent;
// the batch and the precision are left to the training section; of the others it is a mistake.
#include "models/experiment/deepspeed_config.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "models/document/document_reader.h"
#include "models/document/words.h"
#include "models/experiment/deepspeed_keys.h"
#include "models/experiment/limits.h"

namespace vitsim {

namespace {

bool contains(std::span<const std::string_view> names, std::string_view word) {
  return std::ranges::find(names, word) != names.end();
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  return text;
}

std::string key_of(const Field& field) {
  return field.path().substr(field.path().rfind('/') + 1);
}

// false, null, 0, "none", and a section that says `"enabled": false`: nothing to warn of.
bool is_off(const Field& field) {
  const auto& value = field.value().value;
  if (field.is_null()) {
    return true;
  }
  if (const auto* const flag = std::get_if<bool>(&value)) {
    return !*flag;
  }
  if (const auto* const text = std::get_if<std::string>(&value)) {
    return *text == "none";
  }
  if (const auto* const object = std::get_if<DocumentValue::Object>(&value)) {
    const auto enabled = std::ranges::find(*object, "enabled", &DocumentMember::key);
    if (enabled == object->end()) {
      return object->empty();
    }
    const auto* const flag = std::get_if<bool>(&enabled->value.value);
    return flag != nullptr && !*flag;
  }
  return false;
}

class ConfigReader {
 public:
  ConfigReader(std::int64_t world_size, std::vector<std::string>& warnings)
      : world_size_(world_size), warnings_(warnings) {}

  DeepspeedConfig read(const Field& root) {
    ObjectReader object(root, ObjectReader::Null::kIsAbsent);
    read_batch(object);
    read_precision(object);
    if (const auto clip = present(object, "gradient_clipping")) {
      state(config_.clip_norm, *clip, clip->number({.least = 0, .most = 1e6}));
    }
    if (const auto zero = present(object, "zero_optimization")) {
      read_zero(*zero);
    }
    if (const auto optimizer = present(object, "optimizer")) {
      read_optimizer(*optimizer);
    }
    if (const auto scheduler = present(object, "scheduler")) {
      read_scheduler(*scheduler);
    }
    for (const Field& field : object.unknown()) {
      const std::string key = key_of(field);
      if (contains(kSilentKeys, key)) {
        continue;
      }
      if (contains(kNotModelledKeys, key)) {
        if (!is_off(field)) {
          warn_not_modelled(field);
        }
      } else {
        std::vector<std::string> known = object.known();
        known.insert(known.end(), kNotModelledKeys.begin(), kNotModelledKeys.end());
        warn_unknown(field, known);
      }
    }
    return config_;
  }

 private:
  template <class T>
  static void state(std::optional<Stated<T>>& target,
                    const Field& field,
                    const std::optional<T>& value) {
    if (value) {
      target = Stated<T>{.value = *value, .where = field.where()};
    }
  }

  static bool is_auto(const Field& field) {
    return field.is_string() && field.any_text() == "auto";
  }

  /// The key's value; "auto" counts as absent: Hugging Face's Trainer fills it in.
  static std::optional<Field> present(ObjectReader& object, std::string_view key) {
    auto field = object.find(key);
    return field && is_auto(*field) ? std::nullopt : field;
  }

  /// The value of a key that decides what a step does: "auto" is a problem.
  static std::optional<Field> decided(ObjectReader& object, std::string_view key) {
    auto field = object.find(key);
    if (field && is_auto(*field)) {
      field->problem("\"auto\" is filled in by Hugging Face's Trainer; write the value itself");
      return std::nullopt;
    }
    return field;
  }

  /// Notes in `open` where "auto" leaves a key to the training section.
  static void note_auto(ObjectReader& object,
                        std::string_view key,
                        std::optional<std::string>& open) {
    if (const auto field = object.find(key); field && is_auto(*field)) {
      open = field->where();
    }
  }

  void warn_unknown(const Field& field, const std::vector<std::string>& known) {
    const auto near = nearest_word(key_of(field), known);
    warnings_.push_back(fmt::format("{}: DeepSpeed does not know the key {} and ignores it{}",
                                    field.where(),
                                    in_quotes(key_of(field)),
                                    near ? fmt::format(" (did you mean \"{}\"?)", *near) : ""));
  }

  void warn_not_modelled(const Field& field) {
    warnings_.push_back(
        fmt::format("{}: {} is not modelled", field.where(), in_quotes(key_of(field))));
  }

  // Keys of a section that nobody read: all of them are warnings, as DeepSpeed runs with them.
  void warn_rest(const ObjectReader& object, std::span<const std::string_view> not_modelled) {
    for (const Field& field : object.unknown()) {
      if (contains(not_modelled, key_of(field))) {
        if (!is_off(field)) {
          warn_not_modelled(field);
        }
      } else {
        warn_unknown(field, object.known());
      }
    }
  }

  // train = micro x accumulation x world; one or two of the three may be missing.
  void read_batch(ObjectReader& object) {
    const auto whole = [&](std::string_view key, std::int64_t most) {
      std::optional<Stated<std::int64_t>> stated;
      if (const auto field = present(object, key)) {
        state(stated, *field, field->integer(1, most));
      }
      return stated;
    };
    const auto train = whole("train_batch_size", kMostSteps);
    const auto micro = whole("train_micro_batch_size_per_gpu", kMostRepeats);
    const auto accumulation = whole("gradient_accumulation_steps", kMostRepeats);
    if (!micro) {
      note_auto(object, "train_batch_size", config_.open_micro_batch);
      note_auto(object, "train_micro_batch_size_per_gpu", config_.open_micro_batch);
    }
    if (!object.is_object()) {
      return;
    }
    if (!train && !micro) {
      if (!object.find("train_batch_size") && !object.find("train_micro_batch_size_per_gpu")) {
        object.field().problem("needs \"train_batch_size\" or \"train_micro_batch_size_per_gpu\"");
      }
      return;
    }
    if (world_size_ <= 0) {
      return;
    }
    config_.micro_batch = micro;
    config_.accumulation = accumulation;
    if (!train) {
      return;
    }
    // Floor divisions, as DeepSpeed's: what does not divide fails in the check below.
    const std::int64_t per_rank = train->value / world_size_;
    if (!accumulation) {
      config_.accumulation = {.value = micro ? per_rank / micro->value : 1, .where = train->where};
    }
    if (!micro) {
      config_.micro_batch = {.value = per_rank / config_.accumulation->value,
                             .where = train->where};
    }
    const Field field = *object.find("train_batch_size");
    // Below 10^18: world sizes, micro-batches and accumulation are at most a million each, or the
    // product was divided out of train_batch_size.
    if (config_.micro_batch->value * config_.accumulation->value * world_size_ != train->value) {
      field.problem(
          fmt::format("{} is not micro-batch {} x gradient_accumulation_steps {} x world size {}",
                      train->value,
                      config_.micro_batch->value,
                      config_.accumulation->value,
                      world_size_));
    } else if (config_.micro_batch->value > kMostRepeats ||
               config_.accumulation->value > kMostRepeats) {
      field.problem(fmt::format("makes a micro-batch of {} and {} accumulation steps; at most {}",
                                config_.micro_batch->value,
                                config_.accumulation->value,
                                kMostRepeats));
    }
  }

  void read_precision(ObjectReader& object) {
    const auto fp16 = present(object, "fp16");
    const auto bf16 = present(object, "bf16");
    const auto bfloat16 = present(object, "bfloat16");
    const auto autocast = present(object, "torch_autocast");
    const auto apex = present(object, "amp");
    const bool half = fp16 && read_fp16(*fp16);
    bool brain = false;
    for (const auto& section : {bf16, bfloat16}) {
      brain = (section && read_bf16(*section)) || brain;
    }
    if (half && brain) {
      fp16->problem("fp16 and bf16 cannot both be enabled");
    }
    if (autocast) {
      read_autocast(*autocast);
    }
    if (apex) {
      read_apex(*apex);
    }
    if (config_.precision) {
      config_.open_precision.reset();
    }
  }

  bool is_enabled(ObjectReader& object) {
    note_auto(object, "enabled", config_.open_precision);
    const auto field = present(object, "enabled");
    return field && field->boolean().value_or(false);
  }

  /// Matrix products in the short type, everything else in fp32.
  void read_autocast(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const bool enabled = is_enabled(object);
    Precision precision = Precision::kAmpBf16;
    if (const auto dtype = present(object, "dtype")) {
      const std::string word = lower(dtype->text().value_or(""));
      if (word == "float16" || word == "fp16" || word == "half" || word == "torch.float16") {
        precision = Precision::kAmpFp16;
      } else if (word != "bfloat16" && word != "bf16" && word != "torch.bfloat16") {
        dtype->problem(
            fmt::format("{} is no type of autocast; bfloat16 and float16 are", in_quotes(word)));
      }
    }
    if (enabled) {
      config_.precision = {.value = precision, .where = field.where()};
    }
    warn_rest(object, std::array<std::string_view, 1>{"lower_precision_safe_modules"});
  }

  /// NVIDIA Apex: O1, the default, casts inputs of matrix products; O2 and O3 hold the model in
  /// fp16.
  void read_apex(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const bool enabled = is_enabled(object);
    Precision precision = Precision::kAmpFp16;
    if (const auto level = present(object, "opt_level")) {
      static constexpr std::array<std::string_view, 4> kLevels = {"O0", "O1", "O2", "O3"};
      const std::size_t index = level->choice(kLevels).value_or(1);
      precision = index == 0   ? Precision::kFp32
                  : index == 1 ? Precision::kAmpFp16
                               : Precision::kFp16;
    }
    if (enabled) {
      config_.precision = {.value = precision, .where = field.where()};
    }
    // Its further keys choose loss scales and casts of single layers: they change no time.
  }

  bool read_enabled(ObjectReader& object, Precision precision) {
    const auto stated_field = object.find("enabled");
    const bool open = stated_field && is_auto(*stated_field);
    const bool enabled = is_enabled(object);
    const Stated<Precision> stated{.value = precision, .where = object.field().where()};
    if (enabled) {
      config_.precision = stated;
    } else if (!open) {
      config_.not_precision.push_back(stated);
    }
    return enabled;
  }

  bool read_fp16(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const bool enabled = read_enabled(object, Precision::kFp16);
    LossScaleSpec scale;
    const auto number = [&](std::string_view key, double& target, const Range& range) {
      if (const auto found = present(object, key)) {
        target = found->number(range).value_or(target);
      }
    };
    const auto whole = [&](std::string_view key, auto& target, std::int64_t least) {
      if (const auto found = present(object, key)) {
        if (const auto value = found->integer(least, kMostRepeats)) {
          target = static_cast<std::decay_t<decltype(target)>>(*value);
        }
      }
    };
    number("loss_scale", scale.fixed, {.least = 0});
    if (const auto power = present(object, "initial_scale_power")) {
      scale.initial_power = static_cast<int>(power->integer(0, 100).value_or(16));
    }
    whole("loss_scale_window", scale.window, 1);
    whole("hysteresis", scale.hysteresis, 1);
    object.read("consecutive_hysteresis", scale.consecutive_hysteresis);
    number("min_loss_scale", scale.minimum, {.least = 0, .above_least = true});
    if (enabled || config_.open_precision) {
      config_.loss_scale = scale;
    }
    warn_rest(object,
              std::array<std::string_view, 2>{"auto_cast", "fp16_master_weights_and_grads"});
    return enabled;
  }

  bool read_bf16(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const bool enabled = read_enabled(object, Precision::kBf16);
    (void)object.find("check_grad_overflow");  // a check, not a phase
    warn_rest(
        object,
        std::array<std::string_view, 3>{
            "immediate_grad_update", "bf16_master_weights_and_grads", "bf16_optimizer_states"});
    return enabled;
  }

  void read_zero(const Field& field) {
    if (std::holds_alternative<bool>(field.value().value)) {
      const bool on = field.boolean().value_or(false);
      set_stage(field, on ? 1 : 0);
      return;
    }
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    std::int64_t stage = 0;
    if (const auto found = decided(object, "stage")) {
      stage = found->integer(0, 3).value_or(0);
      set_stage(*found, stage);
    }
    read_zero_sizes(object, stage);
    read_offload(object, stage);
    for (const Field& rest : object.unknown()) {
      const std::string key = key_of(rest);
      if (!contains(kZeroKeys, key)) {
        std::vector<std::string> known = words(kZeroKeys);
        known.emplace_back("stage");
        warn_unknown(rest, known);
      } else if (stage > 0 && !contains(kSilentZeroKeys, key) && !is_off(rest) && !is_auto(rest)) {
        warn_not_modelled(rest);
      }
      // At stage 0 DeepSpeed itself gives the others no effect.
    }
  }

  /// Sizes in elements, and what overlaps. Hugging Face's "auto" leaves DeepSpeed's default.
  void read_zero_sizes(ObjectReader& object, std::int64_t stage) {
    constexpr std::int64_t kMostElements = 1'000'000'000'000'000;
    ZeroSpec zero;
    bool any = false;
    const auto flag = [&](std::string_view key, auto& target) {
      if (const auto found = present(object, key)) {
        if (const auto value = found->boolean()) {
          target = *value;
          any = true;
        }
      }
    };
    const auto elements = [&](std::string_view key, std::int64_t& target, std::int64_t least) {
      if (const auto found = present(object, key)) {
        target = found->integer(least, kMostElements).value_or(target);
        any = true;
      }
    };
    elements("reduce_bucket_size", zero.reduce_bucket_size, 1);
    elements("allgather_bucket_size", zero.allgather_bucket_size, 1);
    flag("overlap_comm", zero.overlap_comm);
    flag("contiguous_gradients", zero.contiguous_gradients);
    flag("use_multi_rank_bucket_allreduce", zero.multi_rank_bucket_allreduce);
    elements("stage3_prefetch_bucket_size", zero.prefetch_bucket_size, 0);
    elements("stage3_param_persistence_threshold", zero.param_persistence_threshold, 0);
    elements("stage3_max_live_parameters", zero.max_live_parameters, 0);
    elements("stage3_max_reuse_distance", zero.max_reuse_distance, 0);
    if (any && stage > 0) {
      config_.zero = {.value = zero, .where = object.field().where()};
    }
  }

  void read_offload(ObjectReader& object, std::int64_t stage) {
    OffloadSpec offload;
    const auto device = [&](std::string_view key, OffloadTarget& target) {
      const auto section = present(object, key);
      if (!section) {
        return;
      }
      ObjectReader inner(*section, ObjectReader::Null::kIsAbsent);
      if (const auto found = present(inner, "device")) {
        if (const auto index = found->choice(kOffloadTargetNames)) {
          target = static_cast<OffloadTarget>(*index);
        }
      }
      // Its further keys say how buffers are pinned and piped.
    };
    if (const auto old = present(object, "cpu_offload")) {
      if (old->boolean().value_or(false)) {
        offload.optimizer = OffloadTarget::kCpu;
      }
    }
    device("offload_optimizer", offload.optimizer);
    device("offload_param", offload.parameters);
    if (offload.any() && stage > 0) {
      config_.offload = {.value = offload, .where = object.field().where()};
    }
  }

  void set_stage(const Field& field, std::int64_t stage) {
    static constexpr std::array<GradientSync, 4> kStages = {GradientSync::kDeepspeedZero0,
                                                            GradientSync::kDeepspeedZero1,
                                                            GradientSync::kDeepspeedZero2,
                                                            GradientSync::kDeepspeedZero3};
    config_.gradient_sync = {.value = kStages[static_cast<std::size_t>(stage)],
                             .where = field.where()};
  }

  void read_optimizer(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const auto type = decided(object, "type");
    const std::string word = type ? lower(type->text().value_or("")) : "";
    if (word == "adam" || word == "adamw") {
      config_.optimizer.kind = {.value = OptimizerKind::kAdamW, .where = type->where()};
    } else if (word == "lamb" || word == "fusedlamb") {
      config_.optimizer.kind = {.value = OptimizerKind::kLamb, .where = type->where()};
    } else if (word == "sgd") {
      config_.optimizer.kind = {.value = OptimizerKind::kSgd, .where = type->where()};
    } else if (word == "onebitadam") {
      config_.optimizer.kind = {.value = OptimizerKind::kOneBitAdam, .where = type->where()};
    } else if (word == "onebitlamb") {
      config_.optimizer.kind = {.value = OptimizerKind::kOneBitLamb, .where = type->where()};
    } else if (word == "zerooneadam") {
      config_.optimizer.kind = {.value = OptimizerKind::kZeroOneAdam, .where = type->where()};
    } else if (!word.empty()) {
      type->problem(
          fmt::format("optimizer {} is not supported; adam, adamw, sgd, lamb, "
                      "OneBitAdam, OneBitLamb and ZeroOneAdam are",
                      in_quotes(word)));
    } else if (!type && object.is_object()) {
      field.problem("key \"type\" is missing");
    }
    if (const auto params = present(object, "params")) {
      read_optimizer_params(*params, word);
    }
    (void)object.find("legacy_fusion");
    warn_rest(object, {});
    // What the file leaves open is DeepSpeed's own default: FusedAdam, FusedLamb and torch's SGD
    // start from 1e-3 without decay, SGD without momentum.
    const std::string where = field.where();
    auto& optimizer = config_.optimizer;
    if (config_.optimizer.kind) {
      optimizer.lr = optimizer.lr.value_or(Stated<double>{1e-3, where});
      optimizer.weight_decay = optimizer.weight_decay.value_or(Stated<double>{0, where});
      optimizer.momentum = optimizer.momentum.value_or(Stated<double>{0, where});
    }
  }

  void read_optimizer_params(const Field& field, std::string_view type) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const auto number =
        [&](std::string_view key, std::optional<Stated<double>>& target, const Range& range) {
          if (const auto found = present(object, key)) {
            state(target, *found, found->number(range));
          }
        };
    auto& optimizer = config_.optimizer;
    number("lr", optimizer.lr, {.least = 0, .most = 1e6});
    number("weight_decay", optimizer.weight_decay, {.least = 0, .most = 1e6});
    number("momentum", optimizer.momentum, {.least = 0, .most = 1});
    number("eps", optimizer.eps, {.least = 0, .most = 1});
    if (type == "onebitadam" || type == "onebitlamb" || type == "zerooneadam") {
      const std::string_view key = type == "zerooneadam" ? "var_freeze_step" : "freeze_step";
      if (const auto step = present(object, key)) {
        state(optimizer.freeze_step, *step, step->integer(0, kMostSteps));
      }
      for (const std::string_view how : {"cuda_aware",
                                         "comm_backend_name",
                                         "coeff_beta",
                                         "factor_max",
                                         "factor_min",
                                         "factor_threshold"}) {
        (void)object.find(how);
      }
    }
    if (const auto betas = present(object, "betas")) {
      const auto both = betas->elements();
      if (both.size() == 2) {
        const auto first = both[0].number({.least = 0, .most = 1});
        const auto second = both[1].number({.least = 0, .most = 1});
        if (first && second) {
          optimizer.betas = {.value = {*first, *second}, .where = betas->where()};
        }
      } else if (betas->is_array()) {
        betas->problem(fmt::format("must hold two numbers, not {}", both.size()));
      }
    }
    (void)object.find("torch_adam");  // another kernel for the same arithmetic
    (void)object.find("fused");
    (void)object.find("bias_correction");
    if (const auto mode = present(object, "adam_w_mode")) {
      if (type == "adam" && mode->boolean() == false) {
        warnings_.push_back(fmt::format(
            "{}: Adam with L2 decay is not modelled; AdamW takes its place", mode->where()));
      }
    }
    warn_rest(object,
              std::array<std::string_view, 6>{
                  "amsgrad", "max_grad_norm", "max_coeff", "min_coeff", "nesterov", "dampening"});
  }

  void read_scheduler(const Field& field) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    const auto type = decided(object, "type");
    const auto params = present(object, "params");
    warn_rest(object, {});
    if (!type) {
      return;
    }
    const std::string word = type->text().value_or("");
    ScheduleSpec schedule;
    if (word == "WarmupLR") {
      schedule.kind = ScheduleKind::kConstant;
    } else if (word == "WarmupDecayLR") {
      schedule.kind = ScheduleKind::kLinear;
    } else if (word == "WarmupCosineLR") {
      schedule.kind = ScheduleKind::kCosine;
      schedule.final_fraction = 1e-4;
    } else if (word == "LRRangeTest" || word == "OneCycle") {
      warnings_.push_back(fmt::format(
          "{}: scheduler \"{}\" is not modelled; the rate stays constant", type->where(), word));
      return;
    } else {
      static const std::vector<std::string> kKnown = {
          "WarmupLR", "WarmupDecayLR", "WarmupCosineLR", "LRRangeTest", "OneCycle"};
      type->problem(
          fmt::format("unknown scheduler {}{}", in_quotes(word), did_you_mean(word, kKnown)));
      return;
    }
    schedule.warmup_steps = 1000;
    schedule.warmup_log = true;
    bool open_end = false;  // "auto": the rate's course is unknown, and changes no time
    if (params) {
      read_scheduler_params(*params, schedule);
      ObjectReader values(*params, ObjectReader::Null::kIsAbsent);
      const auto total = values.find("total_num_steps");
      open_end = total && is_auto(*total);
    }
    if (open_end) {
      return;
    }
    if (schedule.kind != ScheduleKind::kConstant && !schedule.total_steps) {
      field.problem(fmt::format("{} needs \"total_num_steps\" in its params", word));
    }
    config_.schedule = {.value = schedule, .where = field.where()};
  }

  void read_scheduler_params(const Field& field, ScheduleSpec& schedule) {
    ObjectReader object(field, ObjectReader::Null::kIsAbsent);
    static constexpr std::array<std::string_view, 2> kWarmups = {"log", "linear"};
    const auto ratio = [&](std::string_view key, double& target) {
      if (const auto found = present(object, key)) {
        target = found->number({.least = 0, .most = 1}).value_or(target);
      }
    };
    if (const auto steps = present(object, "warmup_num_steps")) {
      schedule.warmup_steps = steps->integer(0, kMostSteps).value_or(schedule.warmup_steps);
    }
    if (const auto type = present(object, "warmup_type")) {
      schedule.warmup_log = type->choice(kWarmups).value_or(0) == 0;
    }
    if (schedule.kind != ScheduleKind::kConstant) {
      if (const auto total = present(object, "total_num_steps")) {
        schedule.total_steps = total->integer(1, kMostSteps);
      }
    }
    if (schedule.kind == ScheduleKind::kCosine) {
      ratio("warmup_min_ratio", schedule.warmup_start);
      ratio("cos_min_ratio", schedule.final_fraction);
    } else {
      read_warmup_rates(object, schedule);
    }
    (void)object.find("last_batch_iteration");
    warn_rest(object, {});
  }

  // WarmupLR and WarmupDecayLR state rates, not ratios: their highest is the run's.
  void read_warmup_rates(ObjectReader& object, ScheduleSpec& schedule) {
    double least = 0;
    double most = 1e-3;
    std::string where = object.field().where();
    if (const auto found = present(object, "warmup_min_lr")) {
      least = found->number({.least = 0, .most = 1e6}).value_or(least);
    }
    if (const auto found = present(object, "warmup_max_lr")) {
      most = found->number({.least = 0, .most = 1e6, .above_least = true}).value_or(most);
      where = found->where();
    }
    if (least > most) {
      object.field().problem(
          fmt::format("warmup_min_lr {} is above warmup_max_lr {}", least, most));
    }
    schedule.warmup_start = std::min(1.0, least / most);
    if (config_.optimizer.lr && config_.optimizer.lr->value != most) {
      warnings_.push_back(
          fmt::format("{}: the scheduler's rate {} takes the place of the optimizer's {}",
                      where,
                      most,
                      config_.optimizer.lr->value));
    }
    config_.optimizer.lr = {.value = most, .where = where};
  }

  std::int64_t world_size_;
  std::vector<std::string>& warnings_;
  DeepspeedConfig config_;
};

}  // namespace

DeepspeedConfig read_deepspeed_config(const std::filesystem::path& file,
                                      std::int64_t world_size,
                                      Problems& problems,
                                      std::vector<std::string>& warnings) {
  const Document document = Document::read(file, problems, {.relaxed = true});
  return ConfigReader(world_size, warnings).read(Field(document, problems));
}

DeepspeedConfig deepspeed_config_from_text(std::string_view text,
                                           const std::string& origin,
                                           std::int64_t world_size,
                                           Problems& problems,
                                           std::vector<std::string>& warnings) {
  const Document document = Document::parse(text, origin, problems, {.relaxed = true});
  return ConfigReader(world_size, warnings).read(Field(document, problems));
}

}  // namespace vitsim
