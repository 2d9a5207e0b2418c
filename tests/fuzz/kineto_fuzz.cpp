#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/kineto.h"
#include "models/error.h"

// Any bytes are a trace or a user's mistake; no step is busy longer with both than with one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream stream(std::string(reinterpret_cast<const char*>(data), size));
  try {
    const vitsim::KinetoTrace trace = vitsim::read_kineto_trace(stream, "trace");
    for (const vitsim::ProfiledStep& step : trace.steps) {
      VITSIM_CHECK(step.overlap_s, <=, step.compute_s);
      VITSIM_CHECK(step.overlap_s, <=, step.communication_s);
      VITSIM_CHECK(step.overlap_s, >=, 0);
    }
    vitsim::join_kineto_traces(std::span(&trace, 1), "run");
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
