#pragma once

#include <cstdint>
#include <istream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/import/piece.h"

namespace vitsim {

/// One collective of one rank.
struct CollectiveSpan {
  std::string name;                      // "allreduce", ...; empty if the trace does not say
  std::string group;                     // process group
  std::optional<std::int64_t> sequence;  // number within the group, where recorded
  std::int64_t bytes = 0;                // of the input; 0: unknown
  std::int64_t ranks = 0;                // of the group; 0: unknown
  std::int64_t step = 0;                 // number of the profiled step it was launched in
  double seconds = 0;
};

/// One profiled step of one rank: wall time, and busy time of the device.
struct ProfiledStep {
  std::int64_t number = 0;
  double wall_s = 0;           // from its first device event to that of the next step
  double compute_s = 0;        // kernels and copies, merged over streams
  double communication_s = 0;  // collectives, waiting for peers included
  double overlap_s = 0;        // both at once
  /// Of compute, by the part of the step that launched it: forward, backward_compute, optimizer; or
  /// all as compute where the trace does not tell. Merged over streams.
  std::map<StepPart, double> phases_s;
  /// The same by kind of kernel, each kernel's duration summed.
  std::map<std::pair<StepPart, KernelKind>, double> kinds_s;
};

/// What one rank's trace of the PyTorch profiler (Kineto) says.
struct KinetoTrace {
  std::string origin;
  std::optional<std::int64_t> rank;
  std::optional<std::int64_t> world_size;
  std::string device;
  std::vector<ProfiledStep> steps;
  std::vector<CollectiveSpan> collectives;  // in order of their start
  std::vector<std::string> warnings;
};

/// Reads one trace as a stream: memory grows with its device events, not with its text. Throws
/// UserError if it is damaged or shows nothing that ran on a device. Of a cut trace the whole
/// events are taken, with a warning.
KinetoTrace read_kineto_trace(std::istream& stream, const std::string& origin);

/// Joins the traces of one run's ranks: by rank "step", "compute", "communication", "overlap", the
/// phases as far as the traces tell them, and kernels by phase and kind; and collectives by message
/// size. A trace that does not tell forward from backward is taken to be one third forward, as the
/// arithmetic is. Traces of one rank with different steps are cycles of one profiler. A
/// collective's duration on a rank holds its wait for the others; the last to arrive does not wait,
/// so the shortest of the ranks' durations counts. Instances are matched by group and sequence
/// number, or else by their order within a step.
Piece join_kineto_traces(std::span<const KinetoTrace> traces, const std::string& run);

}  // namespace vitsim
