#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/run_summary.h"
#include "calibrate/fit/step_constants.h"

namespace vitsim {

/// Network figures in the form that the fit searches.
struct LinkUnknowns {
  double latency_s = 0;  // of one message from rank to rank
  double seconds_per_byte = 0;
  double overhead_s = 0;                 // per call
  std::map<double, double> corrections;  // by message bytes: factor of that message's time
};

/// What an AllReduce that was measured went over.
struct ReducedLink {
  std::string name;
  bool one_node = false;
};

ReducedLink reduced_link(const Measurement& measurement, const Sample& all_reduce);

/// Seconds of one message of `bytes`, corrected by what was seen at nearby sizes.
double message_seconds(const LinkUnknowns& link, double bytes);

/// Seconds of a ring AllReduce among `ranks` equal links.
double ring_seconds(const LinkUnknowns& link, double bytes, double ranks);

/// The result of the joint fit.
struct StepFit {
  std::map<CurveKey, std::map<std::int64_t, double>>
      compute_s;  // forward + backward by micro-batch
  std::map<CurveKey, StepConstants> constants;
  std::map<std::string, LinkUnknowns> links;
};

/// The joint fit over all summaries whose run is not in `leave_out`.
StepFit fit_steps(const std::vector<RunSummary>& summaries,
                  const Measurement& measurement,
                  const FitOptions& options);

/// Spread of networks whose AllReduces were measured alone: how far the fit is from each size's
/// median together with how far single calls are from it, for sizes that fill the wire.
std::map<std::string, double> lone_reduce_sigmas(const StepFit& fit,
                                                 const Measurement& measurement,
                                                 const FitOptions& options);

/// The fit's own closed-form step of a run in seconds: the slowest rank's compute, then the ring.
/// None where the fit has not seen a part of it.
struct StepParts {
  double compute_s = 0;
  double all_reduce_s = 0;
  double epoch_s = 0;  // of the whole epoch
};

std::optional<StepParts> predict_step(const StepFit& fit, const RunSummary& summary);

/// A fit without one run, and that run predicted by it; none where the remaining runs do not pin
/// down what it consists of, e.g. compute and network only in sum.
struct LeftOutFit {
  StepFit fit;
  StepParts parts;
};

std::optional<LeftOutFit> fit_without(const RunSummary& left_out,
                                      const std::vector<RunSummary>& summaries,
                                      const Measurement& measurement,
                                      const FitOptions& options);

}  // namespace vitsim
