#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "calibrate/profile/loader_times.h"
#include "models/experiment/training.h"
#include "models/link_kind.h"
#include "models/precision.h"
#include "models/units.h"
#include "models/vit/cost_graph.h"
#include "models/vit/vit.h"

namespace vitsim {

/// Measured phases at one micro-batch. Forward, backward and loading are per micro-batch of that
/// size; optimizer and other per step.
struct StepPoint {
  std::int64_t micro_batch = 0;
  Seconds data_load;
  Seconds forward;
  Seconds backward;
  Seconds optimizer;
  Seconds other;
  std::int64_t count = 0;  // steps measured
};

/// Measured steps of one model and precision, by micro-batch in rising order.
struct StepCurve {
  VitSpec model;  // image size and classes included
  Precision precision = Precision::kFp32;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  std::vector<StepPoint> points;
};

/// Throughput of updates ("optimizer"), and, in profiles that were fitted before there were
/// OperatorRates, of whole passes over the cost graph: time = max(launches * overhead, flops /
/// flops_per_s + bytes / bytes_per_s). A rate of 0 means that the term is absent.
struct OperatorCurve {
  std::string kind;  // "forward", "backward", "optimizer" (bytes alone), or an OperatorKind's name
  Precision precision = Precision::kFp32;
  FlopsPerSecond flops_per_s;
  BytesPerSecond bytes_per_s;
  Seconds overhead;  // per launch
  bool fused_attention = true;
  std::optional<double> error;  // mean, leaving models out
};

/// What one kind of GPU delivers in one precision, kind of kernel by kind: the figures that
/// calibrate/compute/operator_rates.h turns into times. None is above the data sheet's peak.
struct OperatorRates {
  Precision precision = Precision::kFp32;
  FlopsPerSecond gemm_forward;
  FlopsPerSecond gemm_backward;
  double gemm_inner = 0;    // inner width at which a product reaches half of its rate
  double gemm_outputs = 0;  // outputs that the last, half-empty wave of tiles costs
  FlopsPerSecond attention;
  FlopsPerSecond convolution;
  BytesPerSecond memory;      // kernels that stream through the memory reach shares of it
  double elements = 0;        // that norms and copies handle per second, by their share of it
  Seconds kernel_start;       // what a kernel takes on the device before its work
  double forward_factor = 1;  // of whole passes by the sum of their kernels
  double backward_factor = 1;
  std::optional<FlopsPerSecond> head;  // of a token model's head; absent: as other products
  std::optional<double> error;         // mean, leaving models out
  // Of the trainer whose steps were measured, hence of those that are predicted.
  QkvSplit qkv_split = QkvSplit::kSelect;
};

/// What a host needs to launch one kernel: its processor and software stack, whatever the GPU.
struct HostLaunch {
  Seconds forward;
  Seconds backward;
  std::optional<double> sigma;  // of the logarithm, between visits and runs
  Seconds collective;           // of tensor parallelism: per call and doubling of its ranks
};

/// Standard deviations of the logarithm of times.
struct Spread {
  std::optional<double> step_sigma;  // per rank and step
  std::optional<double> unit_sigma;  // between nominally equal GPUs
  std::optional<double> run_sigma;   // between runs of the same configuration
  std::optional<int> run_degrees;    // degrees of freedom behind run_sigma (Student t)
};

struct FitQuality {
  int runs = 0;
  double mean_abs_error = 0;
  double worst = 0;
};

struct Provenance {
  std::vector<std::string> sources;
  std::string tool;
  std::string created;
};

/// What measurements say one kind of GPU delivers.
struct GpuProfile {
  std::string name;
  std::string device_name;
  std::optional<Bytes> memory;
  Provenance provenance;
  std::vector<StepCurve> steps;
  std::vector<OperatorCurve> operators;
  std::vector<OperatorRates> rates;  // by precision
  std::optional<HostLaunch> host;
  std::vector<std::string> notes;  // what the measurement left open
  double overlap_slowdown = 1;     // backward's factor while communication runs
  Spread spread;
  std::optional<Bytes> memory_constant;
  Bytes memory_alone;  // what a job of one rank holds on top
  double activation_factor = 1;
  Seconds epoch_start;               // once per epoch: the loader's workers start
  std::vector<LoaderTimes> loaders;  // of the host's loader, by data set and image size
  std::string intra_node;  // link profile measured with it: the path between two in a node
  FitQuality fit;
};

struct LinkPoint {
  Bytes message;
  Seconds latency;
  BytesPerSecond bandwidth;
};

/// One size of a collective's table.
struct CollectivePoint {
  Bytes bytes;  // as nccl-tests counts them
  Seconds time;
};

/// A collective that was measured on its own, by size in rising order, among so many ranks.
struct CollectiveTimes {
  std::string kind;  // "all-reduce", ... as kCollectiveTableKinds lists them
  std::int64_t ranks = 0;
  std::vector<CollectivePoint> points;

  [[nodiscard]] Bytes least() const { return points.front().bytes; }

  [[nodiscard]] Bytes most() const { return points.back().bytes; }

  /// Straight between the logarithms of two measured sizes. Below the least its time, since the
  /// latency rules there; beyond the most at the bandwidth of the last two sizes.
  [[nodiscard]] Seconds at(Bytes bytes) const;
};

inline constexpr std::array<std::string_view, 6> kCollectiveTableKinds = {
    "all-reduce", "reduce-scatter", "all-gather", "broadcast", "all-to-all", "send-receive"};

/// What measurements say one kind of link delivers; latency and bandwidth of one NIC link, or of
/// the path between two GPUs of a node.
struct LinkProfile {
  std::string name;
  Provenance provenance;
  Seconds latency;
  BytesPerSecond bandwidth;
  std::vector<LinkPoint> curve;  // by message size on the wire; empty: the same for all sizes
  Seconds collective_overhead;   // once per AllReduce call
  std::vector<CollectiveTimes> collectives;  // measured on their own, by kind and ranks
  Spread spread;
  FitQuality fit;

  /// Latency and bandwidth for one message: interpolated on the logarithm of its size.
  [[nodiscard]] LinkPoint at(Bytes message) const;

  /// The table of a collective with the most similar number of ranks; nullptr where there is none.
  [[nodiscard]] const CollectiveTimes* table(std::string_view kind, std::int64_t ranks) const;
};

/// A GPU's slot: generation of PCI Express and number of lanes.
struct PcieSlot {
  std::int64_t generation = 0;
  std::int64_t lanes = 0;

  bool operator==(const PcieSlot&) const = default;
};

/// Theoretical figures of a GPU, from its data sheet (configs/gpus).
struct GpuSheet {
  std::string name;
  std::string device_name;
  std::string architecture;
  Bytes memory;
  BytesPerSecond memory_bandwidth;
  FlopsPerSecond fp32;
  std::optional<FlopsPerSecond> tf32;  // dense tensor cores; absent where the GPU has none
  std::optional<FlopsPerSecond> fp16;
  std::optional<FlopsPerSecond> bf16;
  std::optional<double> tdp_w;  // thermal design power, W
  std::optional<PcieSlot> pcie;
  std::string intra_node;  // link sheet of the usual path between two in a node; may be empty
  std::string source;

  /// True for memory stacked beside the chip (HBM), as data centre GPUs have it: by the name, since
  /// the figures of other kinds come close.
  [[nodiscard]] bool has_stacked_memory() const;
};

/// The data sheet of the link that joins such GPUs where nobody names a path inside their node:
/// `intra_node` of the sheet, else PCI Express by generation and lanes; may be empty.
std::string usual_path(const GpuSheet& sheet);

/// What a kind of link delivers as published measurements show it (configs/links). For a path
/// inside a node the figures are one GPU's, each way; for a network they are one NIC's.
struct LinkSheet {
  std::string name;
  LinkKind kind = LinkKind::kNetwork;
  BytesPerSecond bandwidth;  // what a ring of many ranks gets at large sizes
  Seconds latency;           // of one small message, without the library's own costs
  bool switch_reduces = false;
  std::optional<BytesPerSecond> switch_bandwidth;  // AllReduce bytes / time where the switch sums
  bool through_host = false;                       // no peer access: data goes through host memory
  double spread = 0;  // standard deviation of the logarithm of times, from machine to machine
  std::string source;
};

/// Whether what calls itself `device` is what a profile or data sheet records as `recorded`:
/// drivers add variants to a name.
inline bool is_device(std::string_view device, std::string_view recorded) {
  return device.starts_with(recorded);
}

/// Schema of profile files, before the version.
inline constexpr std::string_view kProfileSchema = "vitsim-profile";

/// Kinds of OperatorCurve: whole passes, and the operators of the cost graph.
inline constexpr std::array<std::string_view, 8> kOperatorCurveKinds = {
    "forward", "backward", "optimizer", "gemm", "attention", "layer_norm", "gelu", "elementwise"};

/// Readers throw UserError with file, line, path; they refuse a newer schema. Writers are atomic.
GpuProfile read_gpu_profile(const std::filesystem::path& file);
LinkProfile read_link_profile(const std::filesystem::path& file);
GpuSheet read_gpu_sheet(const std::filesystem::path& file);
LinkSheet read_link_sheet(const std::filesystem::path& file);
void write_profile(const std::filesystem::path& file, const GpuProfile& profile);
void write_profile(const std::filesystem::path& file, const LinkProfile& profile);

/// Any file of a profile folder, by its schema and kind; `text` stands for the file's content.
using Part = std::variant<GpuProfile, LinkProfile, GpuSheet, LinkSheet>;
Part read_part(const std::filesystem::path& file);
Part part_from_text(std::string_view text, const std::string& origin);

/// The profile as its file holds it.
std::string profile_text(const GpuProfile& profile);
std::string profile_text(const LinkProfile& profile);

}  // namespace vitsim
