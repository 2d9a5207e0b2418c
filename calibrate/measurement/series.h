#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/phase.h"
#include "models/precision.h"
#include "models/vit/vit.h"

namespace vitsim {

/// A part of a step that somebody timed: the phases, and what only logs and profilers tell apart.
enum class StepPart {
  kDataLoad,
  kForward,
  kBackward,         // DeepSpeed's holds the AllReduce too
  kBackwardCompute,  // DeepSpeed's bwd_inner
  kGradientAllReduce,
  kOptimizer,
  kOther,
  kParameterAllGather,
  kTensorParallel,
  kPipelineSend,
  kCompute,        // a profiler's: the device computes
  kCommunication,  // a profiler's: a collective runs, waiting for peers included
  kOverlap,        // a profiler's: both at once
};

inline constexpr std::array<std::string_view, 13> kStepPartNames = {"data_load",
                                                                    "forward",
                                                                    "backward",
                                                                    "backward_compute",
                                                                    "gradient_all_reduce",
                                                                    "optimizer",
                                                                    "other",
                                                                    "parameter_all_gather",
                                                                    "tensor_parallel",
                                                                    "pipeline_send",
                                                                    "compute",
                                                                    "communication",
                                                                    "overlap"};

constexpr std::string_view name(StepPart part) {
  return kStepPartNames[static_cast<std::size_t>(part)];
}

/// None for phases that are no part of a step.
std::optional<StepPart> step_part(Phase phase);

/// One part of every step or micro-step of a rank, in order. Of DeepSpeed all by micro-step: the
/// AllReduce includes the straggler wait; before the last micro-step of a step it and the optimizer
/// are next to nothing.
struct PhaseSeries {
  StepPart part = StepPart::kForward;
  std::int64_t rank = 0;
  std::string unit;  // which of several equal devices, e.g. "host:0"
  std::vector<double> seconds;
};

/// Whole steps on a rank's own clock, in order.
struct StepSeries {
  std::int64_t rank = 0;
  std::string unit;
  std::vector<double> seconds;
};

/// Kinds of kernels that a profiler's trace tells apart by their names.
enum class KernelKind { kGemm, kAttention, kConvolution, kMemoryBound, kUpdate, kCopy };

inline constexpr std::array<std::string_view, 6> kKernelKindNames = {
    "gemm", "attention", "convolution", "memory_bound", "update", "copy"};

constexpr std::string_view name(KernelKind kind) {
  return kKernelKindNames[static_cast<std::size_t>(kind)];
}

/// The sum of all kernels of one kind in a part of every step of a rank, in order.
struct KernelSeries {
  KernelKind kind = KernelKind::kMemoryBound;
  StepPart part = StepPart::kCompute;  // kCompute where the trace does not tell which
  std::int64_t rank = 0;
  std::vector<double> seconds;
};

/// The slowest rank's wall time of each epoch.
struct EpochSeries {
  std::vector<double> seconds;
};

/// What nccl-tests and the profiler tell apart.
enum class MeasuredCollective {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kReduce,
  kAllToAll,
  kGather,
  kScatter,
  kSendReceive,
  kHypercube,
};

inline constexpr std::array<std::string_view, 10> kMeasuredCollectiveNames = {"all_reduce",
                                                                              "reduce_scatter",
                                                                              "all_gather",
                                                                              "broadcast",
                                                                              "reduce",
                                                                              "all_to_all",
                                                                              "gather",
                                                                              "scatter",
                                                                              "send_receive",
                                                                              "hypercube"};

constexpr std::string_view name(MeasuredCollective kind) {
  return kMeasuredCollectiveNames[static_cast<std::size_t>(kind)];
}

/// Calls of one collective of one size among the same ranks.
struct CollectiveSeries {
  MeasuredCollective kind = MeasuredCollective::kAllReduce;
  std::int64_t bytes = 0;  // as nccl-tests counts a collective's size
  std::optional<std::int64_t> ranks;
  std::optional<std::int64_t> nodes;
  std::optional<bool> one_node;
  std::optional<std::int64_t> rank;  // whose clock it is, where only one rank's is known
  std::string link;                  // profile of the path between the ranks
  std::string gpu;                   // where all ranks have the same
  std::string devices;               // GPUs by rank, joined by ';', where they differ
  std::string backend;               // "nccl", ...
  std::string place;                 // "in-place", "out-of-place"
  std::string series;                // name of the table it was measured in
  std::vector<double> seconds;
};

/// Messages of one size between two ranks, half a round trip each.
struct PointToPointSeries {
  std::int64_t bytes = 0;
  std::string link;
  std::string from;  // device names
  std::string to;
  std::string from_host;
  std::string to_host;
  std::optional<std::int64_t> from_rank;
  std::optional<std::int64_t> to_rank;
  std::optional<bool> one_node;
  std::vector<double> seconds;
};

/// Backward passes of one rank, alone or with AllReduces running beside.
struct OverlapSeries {
  enum class State { kAlone, kBeside };

  std::string gpu;
  State state = State::kAlone;
  std::int64_t rank = 0;
  std::optional<std::int64_t> ranks;
  std::optional<std::int64_t> batch;
  std::optional<std::int64_t> bytes;  // of each AllReduce
  std::optional<Precision> precision;
  std::vector<double> seconds;
};

/// One kernel of one shape on one device.
struct OperatorSeries {
  std::string gpu;
  std::string kind;  // "gemm", "attention", ...
  std::string pass;  // "backward", or empty: forward
  std::optional<Precision> precision;
  double flops = 0;
  double bytes = 0;  // moved to and from the device's memory
  std::optional<std::int64_t> rank;
  std::map<std::string, double> shape;  // "m", "n", "k"; "rows", "width"; ...
  std::vector<double> seconds;
};

/// Whole passes of one model on one device.
struct PassSeries {
  enum class Kind { kForward, kTrainStep };

  Kind kind = Kind::kTrainStep;
  std::string gpu;
  VitSpec model;                        // `classes` apart
  std::optional<std::int64_t> classes;  // of the head, where the source states them
  Precision precision = Precision::kFp32;
  std::int64_t batch = 0;
  std::string optimizer;  // as the source names it; empty: not said
  std::string torch;      // version
  std::vector<double> seconds;
};

/// Loading of images by so many workers, with nothing else running: seconds per image.
struct LoaderSeries {
  std::string gpu;      // beside which it was measured
  std::string dataset;  // "image-folder", ...
  std::int64_t image_size = 224;
  std::int64_t channels = 3;
  std::int64_t workers = 1;
  double cores = 1;            // of the host, per rank
  double compute_threads = 0;  // of the model's computation on the same host; 0 on a GPU
  std::optional<std::int64_t> rank;
  std::vector<double> seconds;
};

/// Whole steps of a training whose model is split, on equal GPUs of one machine.
struct ParallelStepSeries {
  std::string gpu;
  VitSpec model;
  Precision precision = Precision::kFp16;
  std::int64_t micro_batch = 1;
  std::int64_t micro_batches = 1;  // of each replica in a step
  std::int64_t tensor = 1;
  std::int64_t data = 1;
  std::int64_t pipeline = 1;
  std::vector<double> seconds;
};

/// Memory of a rank's GPU in use: what the process holds, the allocator's reserve included.
struct MemoryReading {
  std::int64_t rank = 0;
  std::string unit;
  std::optional<double> capacity_bytes;
  std::optional<double> allocated_bytes;  // by tensors, at most; where the allocator tells
  std::vector<double> bytes;
};

/// A series of a kind that this program does not know, or without what its kind needs: kept, so
/// that a file is written as it was read, and used by nobody.
struct UnknownSeries {
  std::string what;
  std::vector<double> seconds;
};

using Series = std::variant<PhaseSeries,
                            StepSeries,
                            KernelSeries,
                            EpochSeries,
                            CollectiveSeries,
                            PointToPointSeries,
                            OverlapSeries,
                            OperatorSeries,
                            PassSeries,
                            LoaderSeries,
                            ParallelStepSeries,
                            MemoryReading,
                            UnknownSeries>;

/// Raw figures of one thing, never averaged.
struct Sample {
  Series series;
  std::string run;           // name of a RecordedRun, or empty
  std::int64_t warm_up = 0;  // so many of the first are warm-up
  bool disturbed = false;    // other load was seen while it was taken
  // Further parameters of the file that no part of this program looks at.
  std::map<std::string, std::string> other_text = {};
  std::map<std::string, double> other_number = {};

  template <typename Kind>
  [[nodiscard]] const Kind* as() const {
    return std::get_if<Kind>(&series);
  }

  template <typename Kind>
  [[nodiscard]] Kind* as() {
    return std::get_if<Kind>(&series);
  }

  /// The collective series of this kind, or nothing.
  [[nodiscard]] const CollectiveSeries* collective(MeasuredCollective kind) const;
  /// The phase series of this part, or nothing.
  [[nodiscard]] const PhaseSeries* phase(StepPart part) const;

  /// Seconds, or the bytes of a memory reading.
  [[nodiscard]] std::span<const double> figures() const;
  /// Figures after the warm-up; the last one where all are warm-up.
  [[nodiscard]] std::span<const double> settled() const;
  /// The rank whose clock or memory it is, where it is one rank's.
  [[nodiscard]] std::optional<std::int64_t> rank() const;
  /// The GPU that it was measured on, where the series itself names it.
  [[nodiscard]] std::string_view gpu() const;
};

/// A sample as a file holds it: a kind by name, and parameters.
struct PlainSample {
  std::string what;
  std::map<std::string, std::string> text;
  std::map<std::string, double> number;
  std::vector<double> figures;

  /// The same thing measured: everything but the figures.
  [[nodiscard]] bool same_subject(const PlainSample& other) const {
    return what == other.what && text == other.text && number == other.number;
  }
};

/// `plain(typed(x)) == x` for every x, whatever its parameters are.
PlainSample plain(const Sample& sample);
/// `run`, `warm_up` and `disturbed` are left for the caller to set.
Sample typed(PlainSample plain);

/// Name of the kind as a file holds it: "forward", "epoch", "all_reduce", "memory" ...
std::string what(const Sample& sample);

}  // namespace vitsim
