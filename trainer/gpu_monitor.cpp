// NVML's interface is stable and plain C, so that its few functions are declared here and looked up
// by name: neither headers nor the library are needed to build or start. Energy is the integral of
// the power between readings, by the trapezoidal rule. NVML itself averages an H100's power over a
// second or less, so that peaks shorter than that are not seen.
#include "trainer/gpu_monitor.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <type_traits>

#include <dlfcn.h>

namespace vitsim {

namespace {

constexpr std::chrono::milliseconds kInterval(100);

// Of nvml.h: every function returns 0 where it succeeded.
using NvmlDevice = void*;
using NvmlInit = int();
using NvmlHandleByPciBusId = int(const char*, NvmlDevice*);
using NvmlPowerUsage = int(NvmlDevice, unsigned int* milliwatts);
using NvmlThrottleReasons = int(NvmlDevice, unsigned long long* reasons);
using NvmlRunningProcesses = int(NvmlDevice, unsigned int* count, void* processes);

// Slowdown by the board, by heat seen in software and in hardware, and by the power supply. A
// card that reaches its own power limit under heavy work is as it should be.
constexpr unsigned long long kSlowedDown = 0x8 | 0x20 | 0x40 | 0x80;

class Nvml {
 public:
  // None where the library or what is needed of it is missing. It is never unloaded.
  static std::optional<Nvml> load(const std::string& library) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      return std::nullopt;
    }
    Nvml nvml;
    const auto find = [handle](auto*& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      return function != nullptr;
    };
    NvmlInit* init = nullptr;
    if (!find(init, "nvmlInit_v2") || !find(nvml.by_bus_id_, "nvmlDeviceGetHandleByPciBusId_v2") ||
        !find(nvml.power_usage_, "nvmlDeviceGetPowerUsage") || init() != 0) {
      return std::nullopt;
    }
    find(nvml.throttle_reasons_, "nvmlDeviceGetCurrentClocksThrottleReasons");
    find(nvml.running_processes_, "nvmlDeviceGetComputeRunningProcesses_v3");
    return nvml;
  }

  [[nodiscard]] std::optional<NvmlDevice> device(const std::string& pci_bus_id) const {
    NvmlDevice device = nullptr;
    return by_bus_id_(pci_bus_id.c_str(), &device) == 0 ? std::optional(device) : std::nullopt;
  }

  [[nodiscard]] std::optional<double> watts(NvmlDevice device) const {
    unsigned int milliwatts = 0;
    return power_usage_(device, &milliwatts) == 0 ? std::optional(1e-3 * milliwatts) : std::nullopt;
  }

  [[nodiscard]] bool slowed_down(NvmlDevice device) const {
    unsigned long long reasons = 0;
    return throttle_reasons_ != nullptr && throttle_reasons_(device, &reasons) == 0 &&
           (reasons & kSlowedDown) != 0;
  }

  // A list without room answers how long it would be.
  [[nodiscard]] std::int64_t processes(NvmlDevice device) const {
    unsigned int count = 0;
    if (running_processes_ != nullptr) {
      running_processes_(device, &count, nullptr);
    }
    return count;
  }

 private:
  NvmlHandleByPciBusId* by_bus_id_ = nullptr;
  NvmlPowerUsage* power_usage_ = nullptr;
  NvmlThrottleReasons* throttle_reasons_ = nullptr;
  NvmlRunningProcesses* running_processes_ = nullptr;
};

class NvmlMonitor : public GpuMonitor {
 public:
  NvmlMonitor(const Nvml& nvml, NvmlDevice device, double first_w)
      : nvml_(nvml),
        device_(device),
        power_{.mean_w = first_w, .peak_w = first_w, .energy_j = 0},
        last_w_(first_w),
        thread_([this](const std::stop_token& stop) { watch(stop); }) {}

  [[nodiscard]] GpuPower power() const override {
    const std::lock_guard lock(mutex_);
    return power_;
  }

  [[nodiscard]] double throttled_share() const override {
    const std::lock_guard lock(mutex_);
    return readings_ == 0 ? 0
                          : static_cast<double>(slow_readings_) / static_cast<double>(readings_);
  }

  [[nodiscard]] std::int64_t most_processes() const override {
    const std::lock_guard lock(mutex_);
    return most_processes_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void watch(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!woken_.wait_for(lock, stop, kInterval, [&] { return stop.stop_requested(); })) {
      lock.unlock();
      const auto watts = nvml_.watts(device_);
      const bool slow = nvml_.slowed_down(device_);
      const std::int64_t processes = nvml_.processes(device_);
      const auto now = Clock::now();
      lock.lock();
      if (watts) {
        power_.energy_j += (last_w_ + *watts) / 2 * seconds(now - last_);
        power_.peak_w = std::max(power_.peak_w, *watts);
        power_.mean_w = power_.energy_j / seconds(now - begin_);
        last_w_ = *watts;
        last_ = now;
      }
      ++readings_;
      slow_readings_ += slow ? 1 : 0;
      most_processes_ = std::max(most_processes_, processes);
    }
  }

  static double seconds(Clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  const Nvml nvml_;
  const NvmlDevice device_;
  const Clock::time_point begin_ = Clock::now();
  mutable std::mutex mutex_;
  std::condition_variable_any woken_;
  GpuPower power_;
  Clock::time_point last_ = begin_;
  double last_w_;
  std::int64_t readings_ = 0;
  std::int64_t slow_readings_ = 0;
  std::int64_t most_processes_ = 0;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace

std::unique_ptr<GpuMonitor> GpuMonitor::start(const std::string& pci_bus_id,
                                              const std::string& library) {
  const auto nvml = Nvml::load(library);
  const auto device = nvml ? nvml->device(pci_bus_id) : std::nullopt;
  const auto watts = device ? nvml->watts(*device) : std::nullopt;
  return watts ? std::make_unique<NvmlMonitor>(*nvml, *device, *watts) : nullptr;
}

}  // namespace vitsim
