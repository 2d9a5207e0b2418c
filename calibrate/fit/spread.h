#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/step_fit.h"

namespace vitsim {

/// How far one left-out run fell from a fit that had not seen it.
struct LeftOutRun {
  std::string run;
  std::string gpu;                         // the slowest kind
  std::string link;                        // empty for one rank
  double log_error = 0;                    // ln(measured / predicted)
  double compute_share = 1;                // of the predicted step
  std::optional<double> log_reduce_error;  // of the AllReduce alone, where a log shows it
};

/// Refits without each run in turn. Runs of which the others do not pin down every part are absent.
std::vector<LeftOutRun> leave_each_out(const std::vector<RunSummary>& summaries,
                                       const Measurement& measurement,
                                       const FitOptions& options);

/// Spreads by kind of GPU and by network, from left-out runs.
struct Spreads {
  std::map<std::string, Spread> gpus;
  std::map<std::string, Spread> links;
};

/// Spread between runs: root mean square of the left-out errors, pooled with a prior worth five
/// runs at the spread of a typical kind, since a kind with two runs cannot know its own. Spread
/// between equal GPUs: from how long logged ranks waited for GPUs of their own kind. Spread between
/// steps: as logged.
Spreads estimate_spreads(const std::vector<LeftOutRun>& errors,
                         const std::vector<RunSummary>& summaries);

}  // namespace vitsim
