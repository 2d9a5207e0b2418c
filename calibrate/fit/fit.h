#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/measurement/measurement.h"
#include "calibrate/profile/profile.h"

namespace vitsim {

/// Everything a fit learnt: one profile per kind of GPU and per network.
struct Calibration {
  std::map<std::string, GpuProfile> gpus;
  std::map<std::string, LinkProfile> links;
  std::vector<std::string> notes;  // what could not be told apart, or was assumed
};

struct FitOptions {
  std::vector<std::string> leave_out;      // runs that the fit must not see
  std::map<std::string, GpuSheet> sheets;  // by GPU name: memory bandwidth, capacity
  std::string created;                     // for the provenance
  bool with_spread = true;             // refit without each run to learn how far a new run falls
  bool keep_measured_loading = false;  // though it went through pageable memory
  bool with_model_errors = true;       // refit without each model to learn how far another falls

  /// Null where no data sheet has that name.
  [[nodiscard]] const GpuSheet* sheet(const std::string& gpu) const {
    const auto found = sheets.find(gpu);
    return found == sheets.end() ? nullptr : &found->second;
  }
};

/// Profiles by robust maximum likelihood on the logarithms of times. The unknowns are the compute
/// of every (GPU, model, precision, micro-batch) that occurs, latency and bandwidth of every
/// network and a correction for each message size, all at once: an epoch of a run without phases,
/// or the wait for a rank whose log is missing, constrains what is left. Throws UserError where the
/// measurement holds nothing to fit, or was taken on another device than the data sheet of its
/// name.
Calibration fit(const Measurement& measurement, const FitOptions& options);

}  // namespace vitsim
