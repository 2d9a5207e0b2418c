// The trainer's GPU side: a shared library that vitsim-trainer loads where it is present, so that
// one trainer serves machines with and without CUDA. NCCL between GPUs by c10d's ProcessGroupNCCL.
//
// Times come from CUDA events. Their differences are floats of milliseconds, so they are taken from
// an event at the beginning of the same step, whose host time is known because the device was idle
// when it was recorded. A collective runs on NCCL's own stream: it begins when its bucket is ready
// and the one before it is done, and a side stream that waits for it records when it ends.
//
// Batches are copied on a third stream. What it makes is used by the compute stream, which waits
// for an event, and the allocator is told: else it would hand the memory out again too early.
#include <cstdlib>
#include <deque>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/Sleep.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "models/error.h"
#include "trainer/device.h"

namespace vitsim {

namespace {

class CudaDevice : public Device {
 public:
  explicit CudaDevice(c10::DeviceIndex index)
      : index_(index),
        side_stream_(c10::cuda::getStreamFromPool(false, index)),
        copy_stream_(c10::cuda::getStreamFromPool(false, index)) {
    c10::cuda::set_device(index);
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  }

  [[nodiscard]] c10::Device torch_device() const override {
    return {c10::DeviceType::CUDA, index_};
  }

  [[nodiscard]] std::string name() const override { return properties().name; }

  [[nodiscard]] bool supports(Precision precision) const override {
    switch (precision) {
      case Precision::kTf32:
      case Precision::kBf16:
      case Precision::kAmpBf16:
        return properties().major >= 8;
      case Precision::kFp16:
      case Precision::kAmpFp16:
        return properties().major >= 6;
      case Precision::kFp32:
        return true;
    }
    return false;
  }

  [[nodiscard]] bool supports(AllReduceAlgorithm algorithm) const override {
    return algorithm == AllReduceAlgorithm::kRing || algorithm == AllReduceAlgorithm::kTree ||
           algorithm == AllReduceAlgorithm::kNccl || algorithm == AllReduceAlgorithm::kAuto;
  }

  void prepare(Precision precision) override {
    const bool tf32 = precision == Precision::kTf32;
    at::globalContext().setAllowTF32CuBLAS(tf32);
    at::globalContext().setAllowTF32CuDNN(tf32);
  }

  c10::intrusive_ptr<c10d::Backend> connect(const Meeting& meeting,
                                            AllReduceAlgorithm algorithm) override {
    if (algorithm == AllReduceAlgorithm::kRing) {
      setenv("NCCL_ALGO", "Ring", 0);
    } else if (algorithm == AllReduceAlgorithm::kTree) {
      setenv("NCCL_ALGO", "Tree", 0);
    }
    c10d::TCPStoreOptions store_options;
    store_options.isServer = meeting.rank == 0;
    store_options.numWorkers = meeting.size;
    store_options.waitWorkers = false;  // the others learn the port only now
    c10::intrusive_ptr<c10d::TCPStore> store;
    if (meeting.rank == 0) {
      store_options.port = 0;
      store = c10::make_intrusive<c10d::TCPStore>(meeting.host, store_options);
    }
    store_options.port = static_cast<std::uint16_t>(
        meeting.tell_from_rank_0(meeting.rank == 0 ? store->getPort() : 0));
    if (meeting.rank != 0) {
      store = c10::make_intrusive<c10d::TCPStore>(meeting.host, store_options);
    }
    auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
        store,
        meeting.rank,
        meeting.size,
        c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/false));
    backend->setBoundDeviceId(torch_device());
    return backend;
  }

  Mark mark() override {
    if (synchronized_) {
      // A step begins: the device is idle, so this event happens now.
      synchronized_ = false;
      used_ = 0;
      next_event().record(c10::cuda::getCurrentCUDAStream(index_));
      base_ns_ = host_nanoseconds();
    }
    at::cuda::CUDAEvent& event = next_event();
    event.record(c10::cuda::getCurrentCUDAStream(index_));
    return {static_cast<std::int64_t>(used_) - 1};
  }

  void track(const c10::intrusive_ptr<c10d::Work>& work, Phase phase, std::int64_t bytes) override {
    const Mark ready = mark();
    const c10::cuda::CUDAStreamGuard guard(side_stream_);
    work->synchronize();
    at::cuda::CUDAEvent& end = next_event();
    end.record(side_stream_);
    tracked_.push_back({ready, {static_cast<std::int64_t>(used_) - 1}, phase, bytes});
  }

  void synchronize() override {
    side_stream_.synchronize();
    c10::cuda::getCurrentCUDAStream(index_).synchronize();
    synchronized_ = true;
  }

  std::int64_t nanoseconds(Mark mark) override {
    const float ms = events_.front().elapsed_time(events_[static_cast<std::size_t>(mark.value)]);
    return base_ns_ + static_cast<std::int64_t>(static_cast<double>(ms) * 1e6);
  }

  std::vector<CommunicationRecord> take_communication() override {
    std::vector<CommunicationRecord> records;
    for (const Tracked& tracked : tracked_) {
      const std::int64_t ready = nanoseconds(tracked.ready);
      const std::int64_t before = records.empty() ? ready : records.back().end_ns;
      records.push_back({.phase = tracked.phase,
                         .begin_ns = std::max(ready, before),
                         .end_ns = nanoseconds(tracked.end),
                         .bytes = tracked.bytes});
    }
    tracked_.clear();
    return records;
  }

  void run_copies(const std::function<void()>& work) override {
    const c10::cuda::CUDAStreamGuard guard(copy_stream_);
    work();
    copied_.record(copy_stream_);
  }

  void join_copies(const std::vector<at::Tensor>& made) override {
    const c10::cuda::CUDAStream compute = c10::cuda::getCurrentCUDAStream(index_);
    copied_.block(compute);
    for (const at::Tensor& tensor : made) {
      tensor.record_stream(compute.unwrap());
    }
  }

  [[nodiscard]] bool copies_beside_compute() const override { return true; }

  void hold(Seconds duration) override {
    // A little longer than asked where the clock is below 2 GHz, as it mostly is.
    constexpr double kCyclesPerSecond = 2e9;
    at::cuda::sleep(static_cast<std::int64_t>(duration.value() * kCyclesPerSecond));
  }

  [[nodiscard]] std::int64_t peak_memory_bytes() const override {
    return peak(c10::cuda::CUDACachingAllocator::getDeviceStats(index_).reserved_bytes);
  }

  [[nodiscard]] std::optional<std::int64_t> peak_allocated_bytes() const override {
    return peak(c10::cuda::CUDACachingAllocator::getDeviceStats(index_).allocated_bytes);
  }

  void reset_peak_memory() override {
    synchronize();
    copy_stream_.synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    c10::cuda::CUDACachingAllocator::resetPeakStats(index_);
  }

  [[nodiscard]] std::optional<std::string> pci_bus_id() const override {
    return fmt::format("{:08X}:{:02X}:{:02X}.0",
                       properties().pciDomainID,
                       properties().pciBusID,
                       properties().pciDeviceID);
  }

  [[nodiscard]] std::optional<std::int64_t> memory_bytes() const override {
    return static_cast<std::int64_t>(properties().totalGlobalMem);
  }

 private:
  struct Tracked {
    Mark ready;
    Mark end;
    Phase phase = Phase::kGradientAllReduce;
    std::int64_t bytes = 0;
  };

  static std::int64_t peak(const c10::CachingAllocator::StatArray& statistics) {
    return statistics[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }

  [[nodiscard]] const cudaDeviceProp& properties() const {
    return *at::cuda::getDeviceProperties(index_);
  }

  at::cuda::CUDAEvent& next_event() {
    if (used_ == events_.size()) {
      events_.emplace_back(cudaEventDefault);
    }
    return events_[used_++];
  }

  c10::DeviceIndex index_;
  c10::cuda::CUDAStream side_stream_;
  c10::cuda::CUDAStream copy_stream_;
  at::cuda::CUDAEvent copied_;              // the last copies
  std::deque<at::cuda::CUDAEvent> events_;  // the first is the step's base; reused by every step
  std::size_t used_ = 0;
  std::int64_t base_ns_ = 0;
  bool synchronized_ = true;
  std::vector<Tracked> tracked_;
};

}  // namespace

extern "C" Device* vitsim_open_cuda_device(int local_rank, int local_size) {
  const int gpus = c10::cuda::device_count();
  if (gpus == 0) {
    return nullptr;
  }
  // NCCL 2.30 and newer can put several ranks on one GPU when told to.
  const char* shared = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  const bool may_share = shared != nullptr && shared[0] == '1';
  if (local_size > gpus && !may_share) {
    throw UserError(fmt::format(
        "this machine has {} GPU{}, but {} ranks were started on it (NCCL 2.30 and newer share one "
        "with NCCL_MULTI_RANK_GPU_ENABLE=1; --device cpu uses none)",
        gpus,
        gpus == 1 ? "" : "s",
        local_size));
  }
  return new CudaDevice(static_cast<c10::DeviceIndex>(local_rank % gpus));
}

}  // namespace vitsim
