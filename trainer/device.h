#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include "models/experiment/training.h"
#include "models/phase.h"
#include "models/precision.h"
#include "models/units.h"

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace vitsim {

/// This host's steady clock.
inline std::int64_t host_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// When one collective ran, on the host's steady clock, and the phase that it belongs to.
struct CommunicationRecord {
  Phase phase = Phase::kGradientAllReduce;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t bytes = 0;
};

/// A point in the order of work of a device's compute stream. Becomes a time by
/// `Device::nanoseconds` once the device has come that far.
struct Mark {
  std::int64_t value = 0;  // later marks have larger ones
};

/// The compute stream waits for a collective between two marks.
struct Pause {
  Mark begin;
  Mark end;
};

/// What the trainer computes on: this machine's CPU, or a GPU by way of the CUDA plug-in.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  [[nodiscard]] virtual c10::Device torch_device() const = 0;

  /// For people, e.g. "NVIDIA H200" or the CPU's model name.
  [[nodiscard]] virtual std::string name() const = 0;

  [[nodiscard]] virtual bool supports(Precision precision) const = 0;
  [[nodiscard]] virtual bool supports(AllReduceAlgorithm algorithm) const = 0;

  /// Makes matrix products use the arithmetic of `precision` where that is a setting of the
  /// library.
  virtual void prepare(Precision precision) = 0;

  /// Where ranks find each other: rank 0 is on `host` and tells the others a number.
  struct Meeting {
    int rank = 0;
    int size = 1;
    std::string host;
    std::function<std::int64_t(std::int64_t)> tell_from_rank_0;
  };

  /// Collectives between devices of this kind; none where the CPU's serve.
  virtual c10::intrusive_ptr<c10d::Backend> connect(const Meeting& meeting,
                                                    AllReduceAlgorithm algorithm) = 0;

  virtual Mark mark() = 0;

  /// Notes that a collective of `bytes` has been launched by the compute stream, to run beside it.
  virtual void track(const c10::intrusive_ptr<c10d::Work>& work,
                     Phase phase,
                     std::int64_t bytes) = 0;

  /// Returns when everything launched so far has happened. Once per step.
  virtual void synchronize() = 0;

  /// Host time of a mark; after `synchronize`, and before the next one.
  virtual std::int64_t nanoseconds(Mark mark) = 0;

  /// Collectives tracked since the last call, in the order of their launch; after `synchronize`,
  /// and once somebody has waited for each of them.
  virtual std::vector<CommunicationRecord> take_communication() = 0;

  /// Runs `work`, which launches copies to the device and what makes a batch of them: on a stream
  /// of its own where the device copies beside its compute, at once elsewhere.
  virtual void run_copies(const std::function<void()>& work) { work(); }

  /// What compute launches from now on finds the copies so far complete, which made these tensors.
  virtual void join_copies(const std::vector<at::Tensor>& /*made*/) {}

  [[nodiscard]] virtual bool copies_beside_compute() const { return false; }

  /// Gives the compute stream nothing useful to do for about so long, so that the host can launch
  /// ahead of it and marks around short kernels tell the kernels' own time. Nothing on a CPU.
  virtual void hold(Seconds /*duration*/) {}

  /// Most memory in use so far: the resident set of a process, or what the CUDA allocator has
  /// reserved of the GPU.
  [[nodiscard]] virtual std::int64_t peak_memory_bytes() const = 0;

  /// How much of it tensors held at most; none where no allocator of LibTorch's stands between.
  [[nodiscard]] virtual std::optional<std::int64_t> peak_allocated_bytes() const {
    return std::nullopt;
  }

  /// Gives back what is free, and from now on peaks are those since this call, where the device can
  /// tell.
  virtual void reset_peak_memory() {}

  /// How much there is to use.
  [[nodiscard]] virtual std::optional<std::int64_t> memory_bytes() const = 0;

  /// Where a GPU is, e.g. "00000000:1B:00.0"; none for a CPU.
  [[nodiscard]] virtual std::optional<std::string> pci_bus_id() const { return std::nullopt; }
};

/// This machine's CPU, whose collectives are those of MpiBackend.
std::unique_ptr<Device> make_cpu_device();

/// A GPU of this machine for the local rank, by the CUDA plug-in beside the binary; none where the
/// plug-in or a GPU is missing. Throws UserError where ranks outnumber GPUs.
std::unique_ptr<Device> open_cuda_device(int local_rank, int local_size);

/// What the plug-in exports under this name.
inline constexpr const char* kOpenCudaDevice = "vitsim_open_cuda_device";
using OpenCudaDevice = Device*(int local_rank, int local_size);

}  // namespace vitsim
