#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace vitsim {

/// What a rank spends time on. The trainer measures, the profiles hold and the simulator schedules
/// exactly these.
enum class Phase {
  kDataLoad,
  kForward,
  kBackward,
  kGradientAllReduce,
  kParameterAllGather,
  kTensorParallel,
  kPipelineSend,
  kOptimizer,
  kOther,
  kEpochBarrier,
  kEvaluate,
  kCheckpoint,
  kRestart,  // after a failure
};

inline constexpr std::array<std::string_view, 13> kPhaseNames = {"data_load",
                                                                 "forward",
                                                                 "backward",
                                                                 "gradient_all_reduce",
                                                                 "parameter_all_gather",
                                                                 "tensor_parallel",
                                                                 "pipeline_send",
                                                                 "optimizer",
                                                                 "other",
                                                                 "epoch_barrier",
                                                                 "evaluate",
                                                                 "checkpoint",
                                                                 "restart"};

constexpr std::string_view name(Phase phase) {
  return kPhaseNames[static_cast<std::size_t>(phase)];
}

constexpr std::optional<Phase> phase_from_name(std::string_view text) {
  for (std::size_t i = 0; i < kPhaseNames.size(); ++i) {
    if (kPhaseNames[i] == text) {
      return static_cast<Phase>(i);
    }
  }
  return std::nullopt;
}

}  // namespace vitsim
