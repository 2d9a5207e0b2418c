#pragma once

#include <string_view>

#include "calibrate/measurement/series.h"

namespace vitsim {

/// What a device event of a profiler is.
enum class DeviceWork {
  kCompute,        // kernels and copies
  kCommunication,  // a collective of NCCL or RCCL
  kMarker,         // nothing: ROCm's markers and barriers, waits for events
};

DeviceWork device_work(std::string_view name);

/// The kind of a compute kernel called `original`, by the names that cuBLAS, CUTLASS, cuDNN,
/// rocBLAS (Tensile), MIOpen, FlashAttention, PyTorch and Triton give theirs. What none of them
/// names is memory-bound.
KernelKind kernel_kind(std::string_view original);

}  // namespace vitsim
