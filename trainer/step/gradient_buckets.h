#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "trainer/device.h"

namespace vitsim {

/// DeepSpeed's buckets of ZeRO stages 1 and 2: gradients are copied into a flat buffer, which is
/// summed over ranks once the next one does not fit. A gradient larger than the buffer goes by
/// itself. Each buffer is allocated at the first gradient and given back at the end.
class GradientBuckets {
 public:
  struct Settings {
    c10::intrusive_ptr<c10d::ProcessGroup> group;
    std::int64_t elements = 0;  // of a bucket
    /// A second buffer is filled while the first is summed.
    bool overlap = false;
    /// Called with every sum's work as it is launched, and where its result is needed.
    std::function<void(const c10::intrusive_ptr<c10d::Work>&, std::int64_t bytes)> launched;
    std::function<void(c10d::Work&)> wait;
    /// Takes the summed gradient of a parameter, flat.
    std::function<void(std::size_t parameter, const at::Tensor& flat)> summed;
  };

  explicit GradientBuckets(Settings settings) : settings_(std::move(settings)) {}

  void add(std::size_t parameter, const at::Tensor& gradient);

  /// Sums what is left. Returns the bytes summed since the last call.
  std::int64_t finish();

 private:
  struct Entry {
    std::size_t parameter = 0;
    std::int64_t begin = 0;
    std::int64_t elements = 0;
  };

  struct Bucket {
    at::Tensor flat;
    std::vector<Entry> entries;
    c10::intrusive_ptr<c10d::Work> work;
  };

  void launch(at::Tensor flat, std::vector<Entry> entries);
  void flush();
  void take(const Bucket& bucket);
  void take_pending();

  Settings settings_;
  at::Tensor buffer_;
  at::Tensor other_;  // with overlap: the one that is being summed, or was
  std::vector<Entry> entries_;
  std::int64_t filled_ = 0;
  std::int64_t bytes_ = 0;
  std::vector<Bucket> pending_;  // with overlap; one at most
};

/// Calls `ready` with a parameter's number whenever backward has accumulated its gradient, until
/// this is destroyed.
class GradientHooks {
 public:
  GradientHooks(const std::vector<at::Tensor>& parameters,
                const std::function<void(std::size_t parameter)>& ready);
  GradientHooks(const GradientHooks&) = delete;
  GradientHooks& operator=(const GradientHooks&) = delete;
  ~GradientHooks();

 private:
  const std::vector<at::Tensor>& parameters_;
};

}  // namespace vitsim
