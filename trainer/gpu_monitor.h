#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "models/report/report.h"

namespace vitsim {

/// Watches one GPU in the background by way of NVML, the driver's management library, which is
/// loaded at run time where it is installed.
class GpuMonitor {
 public:
  /// Begins to watch the GPU at this PCI address, about ten times a second. None where NVML or the
  /// GPU is missing, or the GPU does not tell its power.
  static std::unique_ptr<GpuMonitor> start(const std::string& pci_bus_id,
                                           const std::string& library = "libnvidia-ml.so.1");

  GpuMonitor() = default;
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;
  virtual ~GpuMonitor() = default;

  /// Since the monitor was started.
  [[nodiscard]] virtual GpuPower power() const = 0;

  /// Share of the readings in which heat or the board's supply held the clock down. 0 where the
  /// driver does not tell.
  [[nodiscard]] virtual double throttled_share() const = 0;

  /// Most processes that computed on the GPU at once, this one included. 0 where the driver does
  /// not tell.
  [[nodiscard]] virtual std::int64_t most_processes() const = 0;
};

}  // namespace vitsim
