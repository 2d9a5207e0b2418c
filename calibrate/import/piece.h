#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/measurement/measurement.h"

namespace vitsim {

/// What one file says about the configuration of a run; what it does not say is absent.
struct RunFacts {
  std::optional<std::string> cluster;
  std::optional<bool> one_node;
  std::optional<std::string> link;  // profile of the network between the ranks
  std::optional<std::int64_t> world_size;
  std::vector<std::string> gpus;  // by rank; empty: not said
  std::optional<VitSpec> model;
  std::optional<std::int64_t> parameters;  // learned parameters, where the model is not named
  std::optional<Precision> precision;
  bool precision_inferred = false;
  std::optional<OptimizerKind> optimizer;
  std::optional<GradientSync> gradient_sync;
  std::vector<std::int64_t> micro_batch;
  std::optional<std::int64_t> accumulation;
  std::optional<std::int64_t> epochs;
  std::optional<std::int64_t> samples;  // per epoch
  std::optional<bool> wall_clock_breakdown;

  /// Takes from `other` what is absent here.
  void complete_with(const RunFacts& other);
};

/// How much a source is to be believed where several describe the same thing of the same run: more
/// digits and own clocks first.
enum class Authority { kRankClock, kRunTable, kStepTable, kEpochTable, kLog, kConfiguration };

/// What one file, or one row of a table of runs, contributes to a measurement.
struct Piece {
  std::string origin;    // file, for messages
  std::string run;       // name of the run it belongs to; empty: samples of no run
  std::string start_of;  // of a file with several starts: the name that its other files go by
  Authority authority = Authority::kLog;
  RunFacts facts;
  std::optional<std::string> deepspeed_config;  // text: its batch sizes depend on the world size
  bool by_micro_step = false;   // "step" is still by micro-step, see `group_micro_steps`
  std::vector<Sample> samples;  // `run` is filled in when pieces are joined
  std::map<std::string, std::string> environment;
  std::vector<std::string> warnings;
};

/// The name under which this project's files know a GPU that the driver calls `device`: that of the
/// data sheet of this device, e.g. "h100" for "NVIDIA H100 80GB HBM3"; else the driver's own words,
/// e.g. "rtx-3070" for "NVIDIA GeForce RTX 3070", "tesla-p4" for "Tesla P4".
std::string gpu_slug(std::string_view device);

/// Steps at the start of a run that are called warm-up: allocators and autotuners settle.
inline constexpr std::int64_t kWarmUpSteps = 4;

/// A rank's seconds of a part of the step by micro-step, of which `accumulation` make a step; sets
/// `warm_up`.
Sample phase_sample(StepPart part,
                    std::int64_t rank,
                    std::vector<double> seconds,
                    std::int64_t accumulation = 1);
/// A rank's seconds of whole steps; sets `warm_up`.
Sample step_sample(std::int64_t rank, std::vector<double> seconds);

}  // namespace vitsim
