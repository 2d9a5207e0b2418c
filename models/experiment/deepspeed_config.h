#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/document/document.h"
#include "models/experiment/training.h"

namespace vitsim {

/// A value and the place that states it, e.g. "ds_config.json:2: /train_batch_size".
template <class T>
struct Stated {
  T value{};
  std::string where;
};

/// What a DeepSpeed JSON says about a training; what it leaves open is absent.
struct DeepspeedConfig {
  struct Optimizer {
    std::optional<Stated<OptimizerKind>> kind;
    std::optional<Stated<double>> lr;
    std::optional<Stated<double>> weight_decay;
    std::optional<Stated<double>> momentum;
    std::optional<Stated<std::array<double, 2>>> betas;
    std::optional<Stated<double>> eps;
    std::optional<Stated<std::int64_t>> freeze_step;  // of the compressed ones
  };

  std::optional<Stated<std::int64_t>> micro_batch;
  std::optional<Stated<std::int64_t>> accumulation;
  std::optional<Stated<Precision>> precision;
  std::vector<Stated<Precision>> not_precision;  // "fp16": {"enabled": false}
  // Where "auto" leaves something to the training section, which must then state it.
  std::optional<std::string> open_micro_batch;
  std::optional<std::string> open_precision;
  std::optional<LossScaleSpec> loss_scale;
  std::optional<Stated<double>> clip_norm;  // 0: none
  std::optional<Stated<GradientSync>> gradient_sync;
  std::optional<Stated<ZeroSpec>> zero;
  std::optional<Stated<OffloadSpec>> offload;
  Optimizer optimizer;
  std::optional<Stated<ScheduleSpec>> schedule;
};

/// Reads a DeepSpeed configuration for a job of `world_size` ranks (0: unknown, then the batch
/// triple is left alone). As DeepSpeed does, it allows comments and trailing commas. The triple
/// follows DeepSpeed's rules: train = micro x accumulation x
/// world, what is missing is derived from what is given. Wrong values go to `problems`; keys that
/// DeepSpeed does not know and keys that are not modelled here go to `warnings`, each with its
/// place.
DeepspeedConfig read_deepspeed_config(const std::filesystem::path& file,
                                      std::int64_t world_size,
                                      Problems& problems,
                                      std::vector<std::string>& warnings);

/// The same for the text of a file.
DeepspeedConfig deepspeed_config_from_text(std::string_view text,
                                           const std::string& origin,
                                           std::int64_t world_size,
                                           Problems& problems,
                                           std::vector<std::string>& warnings);

}  // namespace vitsim
