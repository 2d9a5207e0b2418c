#include "trainer/run_record.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>

#include "calibrate/compute/compute_model.h"
#include "calibrate/profile/library.h"
#include "models/document/atomic_file.h"
#include "models/error.h"
#include "models/experiment/resolved.h"
#include "models/report/cost.h"

namespace vitsim {

namespace {

// Plain structures travel as whole numbers.
template <typename T>
std::vector<std::int64_t> pack(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(std::int64_t) == 0);
  std::vector<std::int64_t> packed(values.size() * (sizeof(T) / sizeof(std::int64_t)));
  std::memcpy(packed.data(), values.data(), packed.size() * sizeof(std::int64_t));
  return packed;
}

template <typename T>
void gather_append(Communication& communication, const std::vector<T>& own, std::vector<T>& all) {
  for (const auto& packed : communication.gather(pack(own))) {
    const std::size_t before = all.size();
    all.resize(before + packed.size() * sizeof(std::int64_t) / sizeof(T));
    std::memcpy(static_cast<void*>(all.data() + before),
                packed.data(),
                packed.size() * sizeof(std::int64_t));
  }
}

std::vector<std::string> gather_text(Communication& communication, const std::string& own) {
  const std::vector<std::int64_t> letters(own.begin(), own.end());
  std::vector<std::string> result;
  for (const auto& row : communication.gather(letters)) {
    result.emplace_back(row.begin(), row.end());
  }
  return result;
}

std::string host_name() {
  utsname system{};
  uname(&system);
  return system.nodename;
}

std::vector<std::int64_t> gather_number(Communication& communication, std::int64_t own) {
  std::vector<std::int64_t> result;
  for (const auto& row : communication.gather(std::vector<std::int64_t>{own})) {
    result.push_back(row.front());
  }
  return result;
}

}  // namespace

RunRecord::RunRecord(const Experiment& experiment, const EpochPlan& plan)
    : experiment_(experiment), plan_(plan), taken_ns_(host_nanoseconds()) {}

void RunRecord::gather(Communication& communication,
                       Recorder& recorder,
                       Device& device,
                       const GpuMonitor* monitor) {
  gather_append(communication, recorder.take_spans(), measured_.spans);
  gather_append(communication, recorder.take_steps(), measured_.steps);
  measured_.peak_memory_bytes = gather_number(communication, device.peak_memory_bytes());
  measured_.peak_allocated_bytes =
      gather_number(communication, device.peak_allocated_bytes().value_or(0));
  measured_.power.clear();
  gather_append(communication,
                std::vector<GpuPower>{monitor == nullptr ? GpuPower() : monitor->power()},
                measured_.power);
  measured_.memory_bytes = gather_number(communication, device.memory_bytes().value_or(0));
  measured_.devices = gather_text(communication, device.name());
  const auto place = device.pci_bus_id();
  gpus_ = gather_text(communication, place ? host_name() + " " + *place : "");
  if (communication.group()->getRank() != 0) {
    measured_.spans.clear();
    measured_.steps.clear();
  }
}

std::int64_t RunRecord::peak_memory_bytes() const {
  return std::ranges::max(measured_.peak_memory_bytes);
}

std::optional<double> RunRecord::take_power_w() {
  double energy_j = 0;
  double gpus = 0;
  for (const GpuPower& power : measured_.power) {
    energy_j += power.energy_j;
    gpus += power.peak_w > 0 ? 1 : 0;
  }
  const std::int64_t now_ns = host_nanoseconds();
  const double elapsed_s = static_cast<double>(now_ns - std::exchange(taken_ns_, now_ns)) * 1e-9;
  const double drawn_j = energy_j - std::exchange(taken_energy_j_, energy_j);
  return gpus > 0 && drawn_j > 0 ? std::optional(drawn_j / elapsed_s / gpus) : std::nullopt;
}

Timeline RunRecord::timeline() const {
  Timeline result{.name = "measured", .spans = measured_.spans};
  for (const RankPlace& place : rank_places(experiment_.cluster)) {
    const NodeSpec& node = experiment_.cluster.nodes[place.node];
    result.rank_names.push_back(node.name + ": " + node.gpus[place.gpu].model);
  }
  return result;
}

// A sheet says something only where the GPU of the file is the one that trained.
std::vector<double> RunRecord::peak_flops_per_s() const {
  const ProfileLibrary library(experiment_.profiles);
  std::vector<double> peaks;
  for (const RankPlace& place : rank_places(experiment_.cluster)) {
    const auto sheet = library.sheet(experiment_.cluster.nodes[place.node].gpus[place.gpu].model);
    const std::string& device = measured_.devices[peaks.size()];
    peaks.push_back(sheet && is_device(device, sheet->device_name)
                        ? peak_flops(*sheet, experiment_.training.precision).value()
                        : 0);
  }
  return peaks;
}

// GPUs draw what their sheet rates only where the file's GPU is the one that trained.
std::optional<RunCost> RunRecord::cost(double total_s) const {
  const ProfileLibrary library(experiment_.profiles);
  std::vector<HeldGpus> held;
  for (const RankPlace& place : rank_places(experiment_.cluster)) {
    const std::string& gpu = experiment_.cluster.nodes[place.node].gpus[place.gpu].model;
    const auto sheet = library.sheet(gpu);
    const std::size_t rank = held.size();
    const std::string& device = measured_.devices[rank];
    held.push_back({.gpu = gpu, .count = 1, .rated_power = std::nullopt});
    const GpuPower& power = measured_.power[rank];
    if (power.mean_w > 0) {
      // Ranks that share a GPU share what it draws.
      const auto sharing = std::ranges::count(gpus_, gpus_[rank]);
      held.back().measured_power = Watts(power.mean_w / static_cast<double>(sharing));
    }
    if (sheet && sheet->tdp_w && is_device(device, sheet->device_name)) {
      held.back().rated_power = Watts(*sheet->tdp_w);
    }
  }
  return total_s > 0 ? run_cost(held, experiment_.prices, Seconds(total_s)) : std::nullopt;
}

void RunRecord::write_timeline(const RunDirectory& directory) {
  if (measured_.spans.size() >= 2 * written_spans_) {
    written_spans_ = measured_.spans.size();
    write_timeline_lines(directory.path() / "timeline.jsonl", timeline());
  }
}

Report RunRecord::write(const RunDirectory& directory,
                        const std::vector<EpochRow>& epochs,
                        double total_s,
                        const std::vector<std::string>& warnings) {
  measured_.total_s = total_s;
  measured_.epochs_s.clear();
  for (const EpochRow& epoch : epochs) {
    measured_.epochs_s.push_back(epoch.train_s);
  }
  measured_.peak_flops_per_s = peak_flops_per_s();
  Report report = measured_report(experiment_.cluster, experiment_.training, plan_, measured_);
  report.resolved_json = resolved(experiment_).dump();
  report.cost = cost(total_s);
  report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  if (!measured_.spans.empty()) {
    const Timeline all = timeline();
    write_timeline_lines(directory.path() / "timeline.jsonl", all);
    write_perfetto(directory.path() / "trace.json", {all});
  }
  write_file_atomically(directory.path() / "report.json", to_json(report).dump(2) + "\n");
  return report;
}

void check_replicas(Communication& communication, const std::vector<at::Tensor>& parameters) {
  // FNV-1a over all bytes.
  std::uint64_t fingerprint = 0xcbf29ce484222325;
  for (const at::Tensor& parameter : parameters) {
    const at::Tensor values = parameter.detach().cpu().contiguous();
    const auto* bytes = static_cast<const std::uint8_t*>(values.const_data_ptr());
    for (std::size_t i = 0; i < values.nbytes(); ++i) {
      fingerprint = (fingerprint ^ bytes[i]) * 0x100000001b3;
    }
  }
  const auto all = gather_number(communication, static_cast<std::int64_t>(fingerprint));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      throw DeviceError(fmt::format("ranks 0 and {} do not hold the same weights", rank));
    }
  }
}

}  // namespace vitsim
