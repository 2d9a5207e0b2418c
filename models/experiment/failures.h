#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "models/units.h"

namespace vitsim {

/// What fails as one.
enum class FailureUnit { kGpu, kNode };
inline constexpr std::array<std::string_view, 2> kFailureUnitNames = {"gpu", "node"};

/// After a failure the job waits until the part is back, or goes on without it, with micro-batches
/// balanced anew.
enum class OnFailure { kRestart, kContinue };
inline constexpr std::array<std::string_view, 2> kOnFailureNames = {"restart", "continue"};

/// How often parts of a cluster fail, independently and at a constant rate, and what it costs the
/// job that uses them.
struct FailureSpec {
  Seconds mean_time_between;  // of one GPU or node
  FailureUnit per = FailureUnit::kGpu;
  Seconds restart;  // from the failure until the job computes again
  OnFailure on_failure = OnFailure::kRestart;
};

/// What hours and watts cost. CodeCarbon's defaults: no overhead of the building, and the world's
/// mean intensity of carbon.
struct PriceSpec {
  std::map<std::string, double> per_gpu_hour;  // by GPU; empty: unknown
  std::string currency;                        // a word for the reader; may be empty
  std::map<std::string, Watts> power;          // by GPU, of those that the file gives
  double pue = 1;                              // power usage effectiveness of the building
  double g_co2e_per_kwh = 475;
};

}  // namespace vitsim
