#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/experiment/cluster.h"
#include "models/experiment/epoch.h"
#include "models/experiment/training.h"
#include "models/report/report.h"
#include "models/report/timeline.h"

namespace vitsim {

/// Begin and end of one step of one rank, on the run's clock.
struct StepTime {
  std::int64_t rank = 0;
  std::int64_t step = 0;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  bool warm_up = false;
  bool full = true;
};

/// What was measured of a run, of all ranks.
struct Measured {
  std::vector<Span> spans;
  std::vector<StepTime> steps;
  std::vector<double> epochs_s;  // as the slowest rank sees them, evaluation excluded
  double total_s = 0;            // 0 where this process did not make all of the run
  std::vector<std::int64_t> peak_memory_bytes;     // by rank: resident, or reserved of a GPU
  std::vector<std::int64_t> peak_allocated_bytes;  // by rank: by tensors; 0 where unknown
  std::vector<std::int64_t> memory_bytes;          // capacity by rank; 0 where unknown
  std::vector<std::string> devices;                // names by rank
  std::vector<double> peak_flops_per_s;            // by rank, of this precision; 0 where unknown
  std::vector<GpuPower> power;                     // by rank; all 0 where unknown
};

/// The report of a real run, from its full steps after warm-up.
///
/// Waiting: a rank that comes late to an AllReduce spends the least time in it; what the others
/// spend beyond that, they wait. That needs no common clock. Exposed communication is the time
/// between the end of backward and the optimizer, and after the optimizer, less waiting. A span of
/// gradient_all_reduce without bytes is no sum: it brings gradients back.
Report measured_report(const ClusterSpec& cluster,
                       const TrainingSpec& training,
                       const EpochPlan& plan,
                       const Measured& measured);

}  // namespace vitsim
