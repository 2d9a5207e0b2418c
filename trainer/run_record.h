#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/experiment.h"
#include "trainer/communication.h"
#include "trainer/gpu_monitor.h"
#include "trainer/measured_report.h"
#include "trainer/recorder.h"
#include "trainer/run_directory.h"

namespace vitsim {

/// What all ranks recorded, brought together on rank 0, and the files made of it.
class RunRecord {
 public:
  RunRecord(const Experiment& experiment, const EpochPlan& plan);

  /// Brings what ranks recorded since the last time to rank 0. Collective.
  /// `monitor` may be null.
  void gather(Communication& communication,
              Recorder& recorder,
              Device& device,
              const GpuMonitor* monitor);

  /// Most memory in use on each rank, as of the last `gather`.
  [[nodiscard]] std::int64_t peak_memory_bytes() const;

  /// Watts of a GPU on average, between the last two calls of this and `gather`; none where no
  /// driver tells.
  std::optional<double> take_power_w();

  /// Writes timeline.jsonl if it has doubled since it was last written: little is lost with a run,
  /// and little time goes into it. Rank 0.
  void write_timeline(const RunDirectory& directory);

  /// Writes report.json and, where phases were recorded, timeline.jsonl and trace.json. Rank 0.
  /// `total_s`: 0 where unknown.
  Report write(const RunDirectory& directory,
               const std::vector<EpochRow>& epochs,
               double total_s,
               const std::vector<std::string>& warnings);

 private:
  [[nodiscard]] Timeline timeline() const;
  [[nodiscard]] std::vector<double> peak_flops_per_s() const;
  [[nodiscard]] std::optional<RunCost> cost(double total_s) const;

  const Experiment& experiment_;
  const EpochPlan& plan_;
  Measured measured_;
  double taken_energy_j_ = 0;
  std::int64_t taken_ns_;
  std::vector<std::string> gpus_;  // by rank: host and place; empty for a CPU
  std::size_t written_spans_ = 0;
};

/// Throws DeviceError unless every rank holds the same weights, bit by bit. Collective.
void check_replicas(Communication& communication, const std::vector<at::Tensor>& parameters);

}  // namespace vitsim
