#include <fstream>
#include <string>
#include <utility>

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include "trainer/device.h"
#include "trainer/mpi/backend.h"

namespace vitsim {

namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(": ");
      return colon == std::string::npos ? line : line.substr(colon + 2);
    }
  }
  return "CPU";
}

// Work is done when its call returns, so a mark is a time already.
class CpuDevice : public Device {
 public:
  [[nodiscard]] c10::Device torch_device() const override { return c10::DeviceType::CPU; }

  [[nodiscard]] std::string name() const override { return cpu_name(); }

  [[nodiscard]] bool supports(Precision precision) const override {
    return precision != Precision::kTf32;
  }

  [[nodiscard]] bool supports(AllReduceAlgorithm algorithm) const override {
    return algorithm == AllReduceAlgorithm::kRing || algorithm == AllReduceAlgorithm::kOpenMpi ||
           algorithm == AllReduceAlgorithm::kAuto;
  }

  void prepare(Precision /*precision*/) override {}

  c10::intrusive_ptr<c10d::Backend> connect(const Meeting& /*meeting*/,
                                            AllReduceAlgorithm /*algorithm*/) override {
    return {};
  }

  Mark mark() override { return {host_nanoseconds()}; }

  void track(const c10::intrusive_ptr<c10d::Work>& work, Phase phase, std::int64_t bytes) override {
    if (auto times = times_of(*work)) {
      tracked_.push_back({std::move(times), phase, bytes});
    }
  }

  void synchronize() override {}

  std::int64_t nanoseconds(Mark mark) override { return mark.value; }

  std::vector<CommunicationRecord> take_communication() override {
    std::vector<CommunicationRecord> records;
    for (const Tracked& tracked : std::exchange(tracked_, {})) {
      records.push_back({.phase = tracked.phase,
                         .begin_ns = tracked.times->begin_ns,
                         .end_ns = tracked.times->end_ns,
                         .bytes = tracked.bytes});
    }
    return records;
  }

  [[nodiscard]] std::int64_t peak_memory_bytes() const override {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
  }

  // Writing 5 there makes the kernel forget the peak of the resident set (proc(5), clear_refs).
  void reset_peak_memory() override {
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";
  }

  [[nodiscard]] std::optional<std::int64_t> memory_bytes() const override {
    return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  }

 private:
  struct Tracked {
    std::shared_ptr<const WorkTimes> times;
    Phase phase = Phase::kGradientAllReduce;
    std::int64_t bytes = 0;
  };

  std::vector<Tracked> tracked_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() {
  return std::make_unique<CpuDevice>();
}

}  // namespace vitsim
