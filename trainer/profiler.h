#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

namespace vitsim {

/// PyTorch's own profiler (Kineto) over a few steps, as a Chrome trace that Holistic Trace Analysis
/// opens: one file per rank, steps marked "ProfilerStep#N".
class Profiler {
 public:
  /// Records steps `first` to `last`, both included, and writes `file`.
  Profiler(std::filesystem::path file,
           int rank,
           int size,
           bool cuda,
           std::int64_t first,
           std::int64_t last);
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;
  ~Profiler();

  void begin_step(std::int64_t step);
  /// Writes the file after the last step to record.
  void end_step(std::int64_t step);

 private:
  struct Recording;
  void write();

  std::filesystem::path file_;
  int rank_;
  int size_;
  bool cuda_;
  std::int64_t first_;
  std::int64_t last_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace vitsim
