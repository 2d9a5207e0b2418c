#include "calibrate/import/kernel_kind.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>
#include <string>

namespace vitsim {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return result;
}

bool has_any(std::string_view name, std::span<const std::string_view> marks) {
  return std::ranges::any_of(
      marks, [&](std::string_view mark) { return name.find(mark) != std::string_view::npos; });
}

}  // namespace

DeviceWork device_work(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kCollectives = {
      "ncclKernel", "ncclDevKernel", "rcclKernel", "rcclDevKernel"};
  if (name.starts_with("nccl") || has_any(name, kCollectives)) {
    return DeviceWork::kCommunication;
  }
  static constexpr std::array<std::string_view, 3> kMarkers = {"Marker", "marker", "roctx"};
  if (has_any(name.substr(0, 12), kMarkers) || name.ends_with(" Sync") ||
      name.starts_with("Stream Wait") || name.starts_with("Barrier")) {
    return DeviceWork::kMarker;
  }
  return DeviceWork::kCompute;
}

KernelKind kernel_kind(std::string_view original) {
  const std::string name = lower(original);
  // In this order: an attention kernel may be built of CUTLASS, a convolution of an implicit GEMM.
  static constexpr std::array<std::string_view, 6> kAttention = {
      "flash", "fmha", "attention", "attn", "sdpa", "mha_"};
  static constexpr std::array<std::string_view, 10> kConvolution = {"conv",
                                                                    "winograd",
                                                                    "implicit_gemm",
                                                                    "fprop",
                                                                    "dgrad",
                                                                    "wgrad",
                                                                    "cudnn::cnn",
                                                                    "scudnn",
                                                                    "miopen",
                                                                    "nchw"};
  static constexpr std::array<std::string_view, 5> kUpdate = {
      "multi_tensor_apply", "multitensorapply", "multi_tensor", "adam", "lamb"};
  static constexpr std::array<std::string_view, 13> kGemm = {"gemm",
                                                             "cutlass",
                                                             "cublas",
                                                             "cijk_",
                                                             "nvjet",
                                                             "xmma",
                                                             "wgmma",
                                                             "splitk",
                                                             "triton_mm",
                                                             "triton_tem",
                                                             "gemv",
                                                             "matmul",
                                                             "_mma_"};
  if (name.starts_with("memcpy") || name.starts_with("memset") || name.starts_with("copybuffer") ||
      name.starts_with("hipmemcpy") || name.starts_with("__amd_rocclr")) {
    return KernelKind::kCopy;
  }
  if (has_any(name, kAttention)) {
    return KernelKind::kAttention;
  }
  if (has_any(name, kUpdate)) {
    return KernelKind::kUpdate;
  }
  // PyTorch's own kernels carry long template arguments, in which anything may occur.
  const bool own = name.find("at::native::") != std::string::npos;
  if (!own && has_any(name, kConvolution)) {
    return KernelKind::kConvolution;
  }
  return !own && has_any(name, kGemm) ? KernelKind::kGemm : KernelKind::kMemoryBound;
}

}  // namespace vitsim
